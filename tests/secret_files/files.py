"""Nasty values, and the readers of files of environment variables."""

import io
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from backend.schemas.environment_files import NotCarriedError, RevealFormat, written

SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell) is not None]
_PIECES = [
    *"'\"\\$`#= \t\n\v\f\x01\x1c\x7f\x80\x85\xa0aX1_{}()[]!@*?-^~%&;|<>,./:+",
    *("\\\\", "\\n", "\\$", " #", "\n\n", "$(id)", "`id`", "${X}", "$X", "export A=", "EOF"),
    *("\u2028", "\u00e9", "\ufeff", "\ud7ff", "\U0001f511", "\U0010ffff"),
]


def nasty_values(seed: int, count: int) -> list[str]:
    """Made-up values with what readers of files treat specially, without carriage returns."""
    rest = random.Random(seed)  # noqa: S311 - not for a secret
    return [
        "".join(rest.choice(_PIECES) for _ in range(rest.randint(1, rest.choice((3, 10, 40)))))
        for _ in range(count)
    ]


def carried(values: list[str], form: RevealFormat) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The values that this form carries, by made-up keys, and the others by code."""
    taken: dict[str, str] = {}
    refused: dict[str, list[str]] = {}
    for number, value in enumerate(values):
        key = f"KEY_{number}"
        try:
            written({key: value}, form)
        except NotCarriedError as error:
            refused.setdefault(error.code, []).append(value)
        else:
            taken[key] = value
    return taken, refused


def read_by_dotenv(text: str, *, interpolate: bool = True) -> dict[str, str | None]:
    """What python-dotenv reads, by default with its own default."""
    return dotenv_values(stream=io.StringIO(text), interpolate=interpolate)


def read_by_shell(
    shell: str, text: str, directory: Path, *, check: bool = True
) -> dict[bytes, bytes]:
    """The environment that a shell passes on once it has read the file. `X` is a variable that it
    could replace in a value. Without `check` the file may say anything: then it finds no command
    and no file, and what it writes stays in the directory."""
    file = directory / "file.env"
    file.write_bytes(text.encode())
    before = "" if check else "set -f; PATH=/nonexistent; "
    done = subprocess.run(
        [shell, "-c", f"{before}set -a; . {file}; exec /usr/bin/env -0"],
        env={"X": "replaced", "PATH": "/usr/bin:/bin"},
        cwd=directory,
        capture_output=True,
        check=check,
    )
    pairs = (entry.partition(b"=") for entry in done.stdout.split(b"\0") if entry)
    return {key: value for key, _, value in pairs}


def read_by_docker(text: str) -> Iterator[tuple[str, str]]:
    """What Docker reads, by the rules of its source: lines of at most 64 KiB, whose carriage return
    at the end and white space in front are removed; the name ends at the first `=`, and the rest
    is the value as it is."""
    for line in text.encode().split(b"\n")[:-1]:
        assert len(line) + 1 <= 64 * 1024
        shown = line.removesuffix(b"\r").decode().lstrip()
        if shown and not shown.startswith("#"):
            name, found, value = shown.partition("=")
            assert found
            assert name
            assert not any(map(str.isspace, name))
            yield name, value
