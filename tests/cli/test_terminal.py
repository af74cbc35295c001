"""What users at a terminal see."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.support.processes import PATIENCE, STRONGROOM, document, environment, write_documents


@dataclass
class Terminal:
    """A terminal of 80 columns: what a process writes to `end` can be read from `screen`."""

    end: int
    screen: IO[bytes]

    def lines(self) -> Iterator[str]:
        """The lines as they look, until the process has ended."""
        os.close(self.end)
        while True:
            try:
                line = self.screen.readline()
            except OSError:
                # Linux reports this once no process has the other end open.
                return
            if not line:
                return
            yield re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.decode()).strip("\r\n")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """An empty terminal."""
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as screen:
        yield Terminal(theirs, screen)


def test_an_import_shows_how_far_it_is(directory: Path, terminal: Terminal) -> None:
    file = write_documents(directory.parent / "in.jsonl", [document(n) for n in range(300)])
    with subprocess.Popen(
        [STRONGROOM, "import", str(file), "--data-dir", str(directory)],
        stdout=subprocess.PIPE,
        stderr=terminal.end,
        env=environment() | {"TERM": "xterm-256color", "COLUMNS": "80"},
        cwd=directory.parent,
    ) as process:
        shown = "\n".join(terminal.lines())
        told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert re.search(r"importing .*100%", shown)
    assert told == b"300 created, 0 updated, 0 unchanged, 0 rejected\n"


def test_a_long_call_stays_on_one_line(directory: Path, terminal: Terminal) -> None:
    deep = directory / ("long" * 30) / "[bold]data"
    with subprocess.Popen(
        [STRONGROOM, "serve", "--port", "0", "--data-dir", str(deep)],
        stdout=terminal.end,
        stderr=subprocess.DEVNULL,
        env=environment() | {"TERM": "xterm-256color", "COLUMNS": "80"},
        cwd=directory.parent,
    ) as process:
        lines: list[str] = []
        for line in terminal.lines():
            lines.append(line)
            if line.startswith("curl "):
                process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    url = lines[0].removeprefix("Strongroom is running at ")
    token = deep / "admin.token"
    assert lines[1:] == [
        f"The admin token, which only you can read, is in {token}",
        "Try it in another terminal:",
        f"curl -sS -H \"Authorization: Bearer $(cat '{token}')\" {url}/api/projects",
    ]
