"""The command as users run it: a process, its output, and its files."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from config.settings import PREFIX
from tests.support.clients import client_at
from tests.support.forked import Forked, Program, run_strongroom

STRONGROOM = Path(sys.executable).with_name("strongroom")
REAL_DOCUMENTS = Path(__file__).parents[3] / "shared" / "data" / "projects.jsonl"
PATIENCE = 60.0
"""Seconds after which a silent process counts as failed."""


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on standard output."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("strongroom: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        return self.err.removeprefix("strongroom: ").rstrip("\n")


def environment(**settings: str) -> dict[str, str]:
    """The environment of this process without our variables, plus these `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**kept, **{PREFIX + name: value for name, value in settings.items()}}


def run(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    installed: bool = False,
) -> Outcome:
    """Run the command to its end in its own process; see `Serving` for `installed`."""
    env = env or environment()
    with contextlib.ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin)
        given.seek(0)
        process: subprocess.Popen[bytes] | Forked
        if installed or _is_for_an_interpreter(env):
            process = subprocess.Popen(
                [STRONGROOM, *arguments], cwd=cwd, env=env, stdin=given, stdout=out, stderr=err
            )
        else:
            process = Forked(arguments, cwd=cwd, env=env, stdin=given, stdout=out, stderr=err)
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return Outcome(status, out.read().decode(), err.read().decode())


def _is_for_an_interpreter(env: Mapping[str, str]) -> bool:
    """Whether it changes variables that only a new interpreter reads, and a forked one does not."""
    names = {name for name in (*env, *os.environ) if name.startswith("PYTHON")}
    return any(env.get(name) != os.environ.get(name) for name in names)


class Serving:
    """`strongroom serve` as a process, from the line with its URL to its end."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        function: Program = run_strongroom,
        installed: bool = False,
        program: Sequence[str | Path] = (STRONGROOM,),
    ) -> None:
        """`under` is a command that is put before the program's own, and `program` is another
        installation's. With one of them, or with `installed`, a new interpreter runs the script
        `strongroom`. Otherwise a process forked from one that has imported the product runs
        `function`."""
        self.directory = directory
        self.lines: list[str] = []
        """The standard output so far."""
        self._log = (directory.parent / f"{directory.name}.log").open("w+b")
        words = ["serve", "--port", "0", "--data-dir", str(directory), *arguments]
        env = env or environment()
        self.process: subprocess.Popen[str] | Forked
        is_other = tuple(program) != (STRONGROOM,)
        if under or installed or is_other or _is_for_an_interpreter(env):
            self.process = subprocess.Popen(
                [*under, *program, *words],
                cwd=directory.parent,
                env=env,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        else:
            self.process = Forked(
                words, cwd=directory.parent, env=env, stderr=self._log, function=function
            )

    def __enter__(self) -> Self:
        self.wait_for("http://")
        return self

    def wait_for(self, text: str) -> str:
        """The next line of standard output that contains `text`."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                if text in line:
                    return self.lines[-1]
        finally:
            watchdog.cancel()
        raise AssertionError(f"no line with {text!r}: {self.lines} {self.err}")

    @property
    def url(self) -> str:
        """The URL that the first line names."""
        return self.lines[0].split()[-1]

    @property
    def token(self) -> str:
        """The admin token of the first start."""
        return (self.directory / "admin.token").read_text(encoding="ascii").strip()

    @property
    def err(self) -> str:
        """The log so far."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def client(self) -> httpx.Client:
        """A client with the admin token."""
        return client_at(self.url, self.token)

    def end(self, number: signal.Signals = signal.SIGTERM, within: float = PATIENCE) -> int:
        """Send a signal, and return the exit status. Then `lines` has the rest of the output."""
        self.process.send_signal(number)
        return self.finish(within)

    def finish(self, within: float = PATIENCE) -> int:
        """Wait for the end, and return the exit status."""
        rest, _ = self.process.communicate(timeout=within)
        self.lines += rest.splitlines()
        return self.process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self._log.close()


def document(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A project document with every part."""
    return {
        "name": f"Project {number}",
        "github_owner": "acme",
        "github_repo": f"project-{number}",
        "status": "active",
        "webhook_url": f"https://hooks.example.com/{number}",
        "auto_merge_enabled": number % 2 == 0,
        "auto_confirm_plans": number % 3 == 0,
        "settings": {
            "planning_statement": f"Plan {number} \N{GRINNING FACE} \x7f\u2028 “first”.",
            "repository_rules": None,
            "setup_commands": "make\n\tmake test\r\n",
            "branch_name": "main",
        },
        "secrets": {"API_KEY": f"sesame-{number}", "OTHER": "pass\u2029phrase"},
        **fields,
    }


def write_documents(path: Path, documents: Sequence[Any]) -> Path:
    """Write a file with one line for each document; strings are written unchanged."""
    lines = [one if isinstance(one, str) else json.dumps(one) for one in documents]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


def read_documents(path: Path) -> list[dict[str, Any]]:
    """The documents in the lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
