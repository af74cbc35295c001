"""Finding the file of a database that this process may not read or write."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def access_problem(database: Path, *, writing: bool) -> str | None:
    """A description of the first file that this process may not use, with its mode and owner;
    `None` when it may use all of them. Missing files are ignored.

    The log and its index are checked too, because they belong to the user whose process made them.
    """
    for file in _files(database):
        wanted = os.R_OK | (os.W_OK if writing else 0)
        if file.is_dir():
            wanted |= os.X_OK
        if not _may(file, wanted):
            return _described(file, "written" if writing else "read")
    return None


def search_problem(directory: Path) -> str | None:
    """The directory or the parent in which this process may not look for files, with its mode and
    owner; `None` when it may look in all that are there."""
    for folder in (*reversed(directory.absolute().parents), directory):
        if not _may(folder, os.X_OK):
            return _described(folder, "searched") if folder.is_dir() else None
    return None


def _may(file: Path, wanted: int) -> bool:
    return os.access(file, wanted, effective_ids=os.access in os.supports_effective_ids)


def _files(database: Path) -> Iterator[Path]:
    real = database.resolve()
    beside = [real.with_name(real.name + suffix) for suffix in ("-wal", "-shm")]
    lock = database.with_name(f"{database.name}.lock")
    for file in (database.parent, real, *beside, lock):
        if os.path.lexists(file):
            yield file


def _described(file: Path, verb: str) -> str:
    status = file.stat()
    mode = stat.S_IMODE(status.st_mode)
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "file"
    return (
        f"{file} can't be {verb}: the {kind} has mode {mode:04o} and belongs to user "
        f"{status.st_uid}, and this process runs as user {os.geteuid()}"
    )
