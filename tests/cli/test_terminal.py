"""What users at a terminal see."""

import os
import pty
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.cli.piped import piped
from tests.support.processes import document, environment, write_documents

TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "80"}
"""The variables of a process at a terminal."""


@dataclass
class Terminal:
    """A terminal of 80 columns: what a process writes to `end` can be read from `screen`."""

    end: IO[bytes]
    screen: IO[bytes]

    def lines(self) -> Iterator[str]:
        """The lines as they look, until the process has ended."""
        self.end.close()
        while True:
            try:
                line = self.screen.readline()
            except OSError:
                # Linux reports this once no process has the other end open.
                return
            if not line:
                return
            yield re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.decode()).strip("\r\n")


@contextmanager
def open_terminal() -> Iterator[Terminal]:
    """An empty terminal."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        os.fdopen(theirs, "wb", buffering=0) as end,
    ):
        yield Terminal(end, screen)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """An empty terminal."""
    with open_terminal() as terminal:
        yield terminal


def test_an_import_shows_how_far_it_is(directory: Path, terminal: Terminal) -> None:
    file = write_documents(directory.parent / "in.jsonl", [document(n) for n in range(300)])
    line = ("import", file, "--data-dir", directory)
    env = environment() | TERMINAL
    with piped(directory.parent, line, env=env, stderr=terminal.end) as process:
        shown = "\n".join(terminal.lines())
        ended = process.finish()
    assert ended.status == 0
    assert re.search(r"importing .*100%", shown)
    assert ended.out == "300 created, 0 updated, 0 unchanged, 0 rejected\n"


def test_a_long_call_stays_on_one_line(directory: Path, terminal: Terminal) -> None:
    deep = directory / ("long" * 30) / "[bold]data"
    call = ("serve", "--port", "0", "--data-dir", deep)
    env = environment() | TERMINAL
    with piped(directory.parent, call, env=env, stdout=terminal.end) as serving:
        lines: list[str] = []
        for line in terminal.lines():
            lines.append(line)
            if line.startswith("curl "):
                serving.process.send_signal(signal.SIGTERM)
        assert serving.finish().status == 0
    url = lines[0].removeprefix("Strongroom is running at ")
    token = deep / "admin.token"
    assert lines[1:] == [
        f"The admin token, which only you can read, is in {token}",
        "Try it in another terminal:",
        f"curl -sS -H \"Authorization: Bearer $(cat '{token}')\" {url}/api/projects",
    ]
