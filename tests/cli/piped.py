"""The command with a pipe as its standard input."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.forked import Forked, Program, run_script
from tests.support.processes import PATIENCE, Outcome, environment


class Piped:
    """A process whose standard input stays open until `finish`."""

    def __init__(self, process: Forked, stdin: IO[bytes], out: IO[bytes], err: IO[bytes]) -> None:
        self.process = process
        self.stdin = stdin
        self._out = out
        self._err = err

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Wait until `there` holds, as long as the process lives."""
        while not there():
            assert self.process.poll() is None
            os.sched_yield()

    def finish(self) -> Outcome:
        """Wait for the end. Returns the status and the output."""
        status = self.process.wait(PATIENCE)
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read().decode())
        return Outcome(status, *texts)


@contextmanager
def piped(
    cwd: Path,
    arguments: Sequence[str | Path],
    function: Program = run_script,
    *,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator[Piped]:
    """A process that reads a pipe; it is killed at the end of the block. The outcome has only the
    output without a file of its own."""
    read, write = os.pipe()
    with (
        os.fdopen(read, "rb") as stdin,
        # A process that was killed does not read what is left.
        os.fdopen(write, "wb", buffering=0) as filled,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        process = Forked(
            arguments,
            cwd=cwd,
            env=env or environment(),
            stdin=stdin,
            stdout=stdout or out,
            stderr=stderr or err,
            function=function,
        )
        # From now on only the process reads.
        stdin.close()
        try:
            yield Piped(process, filled, out, err)
        finally:
            process.kill()
            process.wait(PATIENCE)
