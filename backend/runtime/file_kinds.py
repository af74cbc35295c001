"""Checks that the files of an installation are of the expected kind."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

_KINDS = {
    stat.S_IFREG: "an ordinary file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_problem(database: Path, others: Iterable[Path]) -> str | None:
    """The problem when the data directory is not a directory, or when the database, one of
    SQLite's files next to it, its lock or one of the `others` is not an ordinary file; `None` when
    there is no problem.

    Links to existing files are followed. A broken link is a problem, because the file would be
    created at its target.
    """
    problem = _wrong(database.parent, stat.S_IFDIR)
    if problem is not None:
        return f"{problem}: choose another data directory with --data-dir"
    for file in (*_files(database), *others):
        problem = wrong_file(file)
        if problem is not None:
            return f"{problem}: move it away, or choose another data directory with --data-dir"
    return None


def wrong_file(path: Path) -> str | None:
    """A sentence that says what the path is instead of an ordinary file; `None` when it is one or
    does not exist."""
    return _wrong(path, stat.S_IFREG)


def _files(database: Path) -> Iterator[Path]:
    yield database
    # SQLite's own files are next to the file that a link points at.
    real = Path(os.path.realpath(database)) if database.is_symlink() else database
    yield from (real.with_name(f"{real.name}{suffix}") for suffix in ("-wal", "-shm"))
    yield database.with_name(f"{database.name}.lock")


def _wrong(path: Path, wanted: int) -> str | None:
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        # A missing file is created later, and an unreachable one is reported when it is used.
        if not path.is_symlink():
            return None
        return f"{path} is a broken link, but must be {_KINDS[wanted]}"
    if kind == wanted:
        return None
    return f"{path} is {_KINDS.get(kind, 'a special file')}, but must be {_KINDS[wanted]}"
