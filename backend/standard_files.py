"""Standard input, output and error, whatever the process was started with."""

import codecs
import contextlib
import fcntl
import io
import os
import sys
from typing import TextIO


def prepare_standard_files() -> None:
    """Make each of the three a file that can be used, and output one that takes any text.

    A file that the caller has closed would be None in Python, and its number that of the next
    file opened, the database perhaps. In its place is one whose use fails as that of a closed one
    does; standard error, which says why, takes everything and keeps nothing.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        if not _is_open(number):
            _open_as(number, flags)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or _writing(1)
    sys.stderr = sys.stderr or _writing(2)
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        # PYTHONUNBUFFERED: each print would fail by itself, and nothing would tell of what.
        sys.stdout = open(1, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A name that the encoding has no character for is shown escaped, and fails nothing.
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def can_be_read(stream: TextIO) -> bool:
    """Whether the stream's file was opened for reading, as a closed one's replacement is not."""
    return fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def writes_utf8(stream: TextIO) -> bool:
    """Whether text becomes UTF-8 there, so that any character can be written as it is."""
    try:
        return codecs.lookup(stream.encoding).name == "utf-8"
    except (LookupError, TypeError):
        return False


def finish(stream: TextIO) -> OSError | None:
    """Write what the stream still holds; the error when that can't be done.

    The stream takes everything then and keeps nothing: else Python would try again at its exit.
    """
    try:
        stream.flush()
    except OSError as error:
        silence(stream)
        return error
    return None


def silence(stream: TextIO) -> None:
    """Let the stream, where it has a file, write into nothing."""
    with contextlib.suppress(OSError, ValueError):
        _open_as(stream.fileno(), os.O_WRONLY)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open_as(number: int, flags: int) -> None:
    opened = os.open(os.devnull, flags | os.O_CLOEXEC)
    if opened == number:
        os.set_inheritable(number, True)  # noqa: FBT003 - it has no name
        return
    os.dup2(opened, number)
    os.close(opened)


def _writing(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)
