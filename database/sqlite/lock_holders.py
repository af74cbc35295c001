"""The other processes that hold locks on a file, as far as the system shows them."""

import os
from collections.abc import Iterator
from pathlib import Path

_LOCKS = Path("/proc/locks")


def lock_holders(path: Path) -> list[int]:
    """Ids of the other processes with a POSIX lock on the file. Every SQLite connection has such
    locks on its database and on the log's index.

    Empty if the system has no list of locks or hides other processes.
    """
    file = _name_of(path)
    return sorted({pid for kind, pid, name in _locks() if kind == "POSIX" and name == file})


def owners(database: Path) -> list[int]:
    """Ids of the other processes that have the database open and hold any lock file. They are
    servers or commands of this program."""
    holders = lock_holders(database)
    # There are rarely any holders, so the list of all locks is rarely read a second time.
    locking = {pid for kind, pid, _ in _locks() if kind == "FLOCK"} if holders else set()
    return [pid for pid in holders if pid in locking]


def _name_of(path: Path) -> str | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"


def _locks() -> Iterator[tuple[str, int, str]]:
    """Kind, process and file of every lock of other processes."""
    try:
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        # 1: POSIX  ADVISORY  READ 1234 fe:00:2149964 128 128
        fields = line.split()
        # A waiting process's line has an arrow; a process in another container is 0 or less.
        if len(fields) == 8 and fields[4].isdigit() and int(fields[4]) not in (0, os.getpid()):
            yield fields[1], int(fields[4]), fields[5]
