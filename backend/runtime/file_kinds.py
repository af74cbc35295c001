"""What kind of file lies where one of an installation's own is expected."""

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
    """What is wrong when the data directory is no directory, or the database, a file that SQLite
    has beside it, its lock or one of the `others` is no ordinary file; `None` when nothing is.

    A link to a file that is there is followed. One that leads nowhere would have the file made,
    wherever that is.
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
    """That the path is no ordinary file, and what it is; `None` when it is one, or nothing."""
    return _wrong(path, stat.S_IFREG)


def _files(database: Path) -> Iterator[Path]:
    yield database
    # SQLite has its own beside the file that a link leads to.
    real = Path(os.path.realpath(database)) if database.is_symlink() else database
    yield from (real.with_name(f"{real.name}{suffix}") for suffix in ("-wal", "-shm"))
    yield database.with_name(f"{database.name}.lock")


def _wrong(path: Path, wanted: int) -> str | None:
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        # What is missing is made, and what can't be reached is told where it is used.
        if not path.is_symlink():
            return None
        return f"{path} is a broken link, but must be {_KINDS[wanted]}"
    if kind == wanted:
        return None
    return f"{path} is {_KINDS.get(kind, 'a special file')}, but must be {_KINDS[wanted]}"
