"""Processes of the product, forked from one that has already imported it.

Each has its own files, limits, signals and exit status, and starts a second faster than a new
interpreter. They don't test the script `strongroom`, nor the options of the interpreter (variables
`PYTHON…`, `-X`).
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

PRELOADED = (
    "anyio._backends._asyncio",
    "backend.cli",
    "backend.cli.server",
    "backend.main",
    "uvloop",
    __name__,
    "tests.support.frozen",
)
"""The modules that each process would import itself; the last one says why it is the last."""
Program = Callable[[Sequence[str]], int]
"""A function that a process calls with its arguments, and that returns the exit status. It is
passed by name."""
LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
"""The limits that come from the process that starts it, not from the one that it is forked from."""


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


class _Passed:
    """A descriptor that is passed to the new process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        # `DupFd` works only while a process is being started.
        return _as_it_is, (DupFd(self._number),)


def _as_it_is(passed: Any) -> Any:
    return passed


def run_strongroom(arguments: Sequence[str]) -> int:
    """Run the command in this process. Returns the exit status."""
    from backend.cli import main

    sys.argv = ["strongroom", *arguments]
    return main(arguments)


def run_script(arguments: Sequence[str]) -> int:
    """Do in this process what the script `strongroom` does. Returns the exit status."""
    from strongroom.__main__ import main

    sys.argv = ["strongroom", *arguments]
    return main()


def _begin(
    function: Program,
    arguments: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    limits: Sequence[tuple[int, int]],
    mask: int,
    streams: Sequence[Any],
) -> None:
    """Run in the new process: apply its directory, environment, limits and files, call the
    function, and exit."""
    for number, stream in enumerate(streams):
        descriptor = stream.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    # The existing streams belong to closed descriptors.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    for which, limit in zip(LIMITS, limits, strict=True):
        resource.setrlimit(which, limit)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.exit(function(arguments))


class Forked:
    """A forked process, with those parts of `subprocess.Popen` that tests need."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
        function: Program = run_strongroom,
    ) -> None:
        """`function` is called with the `arguments`. Without `stdout`, standard output goes to a
        pipe; without `stdin` there is no input, and without `stderr` errors are lost."""
        self.stdout: IO[str] | None = None
        with contextlib.ExitStack() as stack:
            nothing = stack.enter_context(Path(os.devnull).open("r+b"))
            if stdout is None:
                read, write = os.pipe()
                self.stdout = os.fdopen(read, encoding="utf-8")
                stdout = stack.enter_context(os.fdopen(write, "wb"))
            files = (stdin or nothing, stdout, stderr or nothing)
            streams = [_Passed(file.fileno()) for file in files]
            limits = [resource.getrlimit(which) for which in LIMITS]
            texts = [str(argument) for argument in arguments]
            # The mask can only be read by setting it.
            mask = os.umask(0o077)
            os.umask(mask)
            given = (function, texts, str(cwd), dict(env), limits, mask, streams)
            self._process = _context().Process(target=_begin, args=given)
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; `None` while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same as `returncode`."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for the end, and return the rest of the output, which must fit into a pipe."""
        self.wait(timeout)
        if self.stdout is None:
            return "", None
        with self.stdout:
            return self.stdout.read(), None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the output, and wait for the end."""
        if self.stdout is not None:
            self.stdout.close()
        self.wait()
