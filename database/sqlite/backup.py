"""Copying a whole database while it is in use, and publishing files atomically."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from database.errors import (
    DRIVER_ERRORS,
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    translate,
)
from database.sqlite.check_progress import OnShare, nothing_told
from database.sqlite.connection import ConnectionConfig
from database.sqlite.statements import control, fetch_all, fetch_one, roll_back

_PAGES_PER_STEP = 2500
_PREFIX, _SUFFIX = ".strongroom-", ".partial"

_TABLES = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
)


class TargetExists(DatabaseError):
    """A file with this name already exists. It is unchanged."""


def copy_database(
    source: sqlite3.Connection,
    target: Path,
    go_on: Callable[[], bool] = lambda: True,
    on_share: OnShare = nothing_told,
) -> dict[str, int]:
    """Copy one snapshot of `source` to the new file `target`. Returns the number of rows by table
    in that snapshot.

    Others can write during the copy, but the log can't be truncated. `on_share` is told how far it
    is. It raises `DatabaseBusy` once `go_on` returns False. The copy is one file without a log,
    readable only by its owner, and not synced. Raises `DatabaseError`; a remaining `target` is then
    unusable.
    """
    with _os_errors(target):
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # One transaction gives the counts and the copy the same snapshot.
    control(source, "BEGIN")
    try:
        counts = row_counts(source)
        _copy_pages(source, target, go_on, on_share)
    finally:
        roll_back(source)
    _end_log(target)
    return counts


def row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """The number of rows of each table, by name. Raises `DatabaseError`."""
    names = [row[0] for row in fetch_all(connection, _TABLES, ())]
    counts = {}
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        row = fetch_one(connection, f"SELECT count(*) FROM {quoted}", ())  # noqa: S608
        counts[name] = int(row[0]) if row is not None else 0
    return counts


def _copy_pages(
    source: sqlite3.Connection, target: Path, go_on: Callable[[], bool], on_share: OnShare
) -> None:
    def look(_status: int, left: int, total: int) -> None:
        on_share(1 - left / max(1, total))
        if not go_on():
            raise DatabaseBusy(
                "the server is writing too much to make a backup: try again when it writes less, "
                "or use strongroom backup",
                retry_after=60,
            )

    try:
        copy = sqlite3.connect(target, isolation_level=None)
        with contextlib.closing(copy):
            # A failed copy is removed, and a successful one is synced once at the end.
            copy.execute("PRAGMA journal_mode = OFF").close()
            copy.execute("PRAGMA synchronous = OFF").close()
            # Inside the caller's snapshot; otherwise SQLite would restart the copy on each write.
            source.backup(copy, pages=_PAGES_PER_STEP, progress=look)
    except DRIVER_ERRORS as error:
        raise translate(error) from None


def _end_log(target: Path) -> None:
    """Convert the copy of a database with a write-ahead log to a file without one."""
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF").close()
            mode = copy.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except DRIVER_ERRORS as error:
        raise translate(error) from None
    if mode != "delete":
        raise DatabaseUnavailable(f"the copy's journal mode is {mode}")


def looking_at(file: Path) -> ConnectionConfig:
    """The configuration for reading a copy."""
    return ConnectionConfig(file, read_only=True)


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A new directory in `folder` for incomplete files, for its owner only, removed after the
    block.

    Leftovers of killed processes are removed first. Raises `DatabaseFull` and
    `DatabaseUnavailable`.
    """
    with _os_errors(folder):
        remove_leftovers(folder)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder))
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _os_errors(folder):
            # The lock ends with the process, which distinguishes leftovers from running work.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the workspaces in `folder` whose process has ended. Raises `OSError`."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        except (BlockingIOError, FileNotFoundError):
            # Another process works there, or is removing it too.
            continue
        finally:
            os.close(descriptor)


def is_leftover(path: Path) -> bool:
    """Whether this is a workspace."""
    return path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)


def publish(complete: Path, target: Path) -> None:
    """Rename the file `complete` to `target` on the same file system, durably. Raises
    `TargetExists`, `DatabaseFull` and `DatabaseUnavailable`."""
    with _os_errors(target):
        sync(complete)
        try:
            # Unlike a rename, this never replaces a file.
            os.link(complete, target)
            complete.unlink()
        except FileExistsError:
            raise TargetExists(f"{target} exists: choose another file") from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # The file system has no hard links.
            if os.path.lexists(target):
                raise TargetExists(f"{target} exists: choose another file") from None
            complete.rename(target)
        sync(target.parent)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file that is not being written to a new file, readable only by its owner.

    Raises `DatabaseFull` and `DatabaseUnavailable`.
    """
    with _os_errors(source):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with source.open("rb") as read, os.fdopen(os.open(target, flags, 0o600), "wb") as written:
            shutil.copyfileobj(read, written, 1024 * 1024)


def sha256(file: Path) -> str:
    """SHA-256 of the file, in hex. Raises `DatabaseUnavailable`."""
    with _os_errors(file), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make the writes to a file or a directory durable. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DatabaseFull(f"there is not enough space for {path.name}") from None
        raise DatabaseUnavailable(
            f"{error.filename or path} can't be used ({error.strerror})"
        ) from None
