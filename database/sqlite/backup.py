"""Copying a whole database while it is in use, and putting a file in its place without a half."""

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
from database.sqlite.connection import ConnectionConfig
from database.sqlite.statements import control, fetch_all, fetch_one, roll_back

_PAGES_PER_STEP = 2500
_PREFIX, _SUFFIX = ".strongroom-", ".partial"

_TABLES = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
)


class TargetExists(DatabaseError):
    """There is a file of this name already; it is as it was."""


def copy_database(
    source: sqlite3.Connection, target: Path, go_on: Callable[[], bool] = lambda: True
) -> dict[str, int]:
    """Copy what `source` shows at one moment to the new file `target`; rows by table, counted in
    that same moment.

    Works while others write: they are not held up, but their log can't be shortened meanwhile. Once
    `go_on` says no, it gives up with `DatabaseBusy`. The copy is one file without a log beside it,
    for its owner only, and not synced. Raises `DatabaseError`; what is left of `target` then is of
    no use.
    """
    with _os_errors(target):
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # One snapshot for the counts and the copy, which joins a transaction that is there.
    control(source, "BEGIN")
    try:
        counts = row_counts(source)
        _copy_pages(source, target, go_on)
    finally:
        roll_back(source)
    _end_log(target)
    return counts


def row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has, by name. Raises `DatabaseError`."""
    names = [row[0] for row in fetch_all(connection, _TABLES, ())]
    counts = {}
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        row = fetch_one(connection, f"SELECT count(*) FROM {quoted}", ())  # noqa: S608
        counts[name] = int(row[0]) if row is not None else 0
    return counts


def _copy_pages(source: sqlite3.Connection, target: Path, go_on: Callable[[], bool]) -> None:
    def look(*_: int) -> None:
        if not go_on():
            raise DatabaseBusy(
                "the server is writing too much to make a backup: try again when it writes less, "
                "or use strongroom backup",
                retry_after=60,
            )

    try:
        copy = sqlite3.connect(target, isolation_level=None)
        with contextlib.closing(copy):
            # A copy that fails is thrown away, and one that succeeds is synced once, at its end.
            copy.execute("PRAGMA journal_mode = OFF").close()
            copy.execute("PRAGMA synchronous = OFF").close()
            # Within the caller's snapshot: else it would begin anew whenever somebody writes.
            source.backup(copy, pages=_PAGES_PER_STEP, progress=look)
    except DRIVER_ERRORS as error:
        raise translate(error) from None


def _end_log(target: Path) -> None:
    """Make the copy of a database with a write-ahead log one that has none."""
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF").close()
            mode = copy.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except DRIVER_ERRORS as error:
        raise translate(error) from None
    if mode != "delete":
        raise DatabaseUnavailable(f"the copy's journal mode is {mode}")


def looking_at(file: Path) -> ConnectionConfig:
    """How a copy is opened to be looked at."""
    return ConnectionConfig(file, read_only=True)


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A new directory in `folder` for what is not complete, for its owner only, gone after the
    block.

    What a process that was killed has left there is removed first. Raises `DatabaseFull` and
    `DatabaseUnavailable`.
    """
    with _os_errors(folder):
        remove_leftovers(folder)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder))
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _os_errors(folder):
            # Ends with the process, so that leftovers can be told from work that goes on.
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
            # Somebody works there, or removes it as well.
            continue
        finally:
            os.close(descriptor)


def is_leftover(path: Path) -> bool:
    """Whether this is a workspace."""
    return path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)


def publish(complete: Path, target: Path) -> None:
    """Give the file `complete`, of the same file system, the name `target`, durable before this
    returns. Raises `TargetExists`, `DatabaseFull` and `DatabaseUnavailable`."""
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
            # A file system without hard links.
            if os.path.lexists(target):
                raise TargetExists(f"{target} exists: choose another file") from None
            complete.rename(target)
        sync(target.parent)


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file that nobody changes to a new one for its owner only.

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
    """Make what is written to a file or a directory durable. Raises `OSError`."""
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
