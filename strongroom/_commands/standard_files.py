"""Makes standard input, output and error usable, however the process was started."""

import codecs
import contextlib
import fcntl
import io
import os
import sys
from typing import TextIO


def prepare_standard_files() -> None:
    """Open the standard files that are closed, and let both outputs accept any text.

    A closed standard file would be None in Python, and the next opened file would get its number,
    perhaps the database. Its replacement fails on use, like a closed file. Only standard error,
    which reports the failure, accepts and discards everything.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        if not _is_open(number):
            _open_as(number, flags)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or _writing(1)
    sys.stderr = sys.stderr or _writing(2)
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        # With PYTHONUNBUFFERED each print would fail on its own, without naming the file.
        sys.stdout = open(1, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Characters that the encoding does not have are escaped instead of failing.
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def can_be_read(stream: TextIO) -> bool:
    """Whether the stream's file is open for reading. The replacement of a closed file is not."""
    return fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def writes_utf8(stream: TextIO) -> bool:
    """Whether the stream encodes text as UTF-8, so that any character can be written unescaped."""
    try:
        return codecs.lookup(stream.encoding).name == "utf-8"
    except (LookupError, TypeError):
        return False


def finish(stream: TextIO) -> OSError | None:
    """Flush the stream. Returns the error if that fails, otherwise `None`.

    After an error the stream discards everything; otherwise Python would try again at its exit.
    """
    try:
        stream.flush()
    except OSError as error:
        silence(stream)
        return error
    return None


def silence(stream: TextIO) -> None:
    """Let the stream discard everything, if it has a file."""
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
