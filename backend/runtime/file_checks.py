"""Checks the files of an installation before a start relies on them."""

import os

from backend.observability.log import get_logger
from backend.runtime.installation import DataDirectory, StartRefused
from database.connection_manager import DatabaseManager
from database.errors import DatabaseCorrupt, DatabaseFull, DatabaseReadOnly
from database.sqlite.integrity import has_tables, quick_problem
from database.sqlite.log_frames import LostFrames, lost_frames
from database.sqlite.permissions import access_problem
from database.sqlite.statements import control, fetch_one
from database.sqlite.wal import wal_bytes

logger = get_logger("strongroom.start")

QUICK_CHECK_SECONDS = 60.0
"""How long a start checks a large file; after that it leaves the check to `strongroom verify`."""
_LARGE_BYTES = 100_000_000


def require_access(directory: DataDirectory, *, writing: bool) -> None:
    """Raises `StartRefused` when this process may not use a file; names the file and its mode."""
    problem = access_problem(directory.database, writing=writing)
    if problem is not None:
        raise StartRefused(
            f"{problem}: the directory and its files must belong to that user, with modes 0700 "
            "and 0600, on a writable file system"
        )


def look_at_log(manager: DatabaseManager) -> None:
    """Report transactions in the write-ahead log that are lost after a damaged frame.

    Must run before anything is written, because a write may replace them. They are kept in a copy
    of the log. Raises `DatabaseUnavailable` when the log can't be read.
    """
    log = manager.config.wal_path
    lost = lost_frames(log)
    if lost is not None:
        _tell(lost, _kept(log.with_name(f"{log.name}.damaged"), log.read_bytes()))
        # Otherwise the next check would find them again, after the frames written from now on.
        with manager.sync_pool.connection() as connection:
            control(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def _tell(lost: LostFrames, kept: str | None) -> None:
    logger.error(
        "the write-ahead log is damaged: compare the clients' latest writes with the database, "
        "and restore a backup if necessary",
        problem=str(lost),
        copy=kept,
    )


def _kept(copy: os.PathLike[str], content: bytes) -> str | None:
    """Copy the log. Returns the path of the copy; `None` when the disk is full or an older copy
    exists."""
    try:
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        logger.warning("the damaged log could not be copied", cause=error.strerror)
        return None
    return os.fspath(copy)


def require_whole_file(manager: DatabaseManager) -> None:
    """Check a file that was not closed properly, or came from elsewhere.

    A copy made with `cp` during writes looks like such a file. Raises `StartRefused` when pages or
    tables are damaged, and `DatabaseError` when the file can't be read.
    """
    config = manager.config
    lock = manager.process_lock
    size = config.path.stat().st_size if config.path.exists() else 0
    if size and not (lock.in_order and wal_bytes(config) == 0):
        if size > _LARGE_BYTES:
            logger.info("checking the database, which was not closed in order", bytes=size)
        _check_file(manager)
    lock.in_order = True


def _check_file(manager: DatabaseManager) -> None:
    try:
        with manager.sync_pool.connection(read_only=True) as connection:
            problem = quick_problem(connection, QUICK_CHECK_SECONDS)
    except TimeoutError:
        logger.warning(
            "the database was not closed in order and is too large to check at the start: run "
            "strongroom verify",
            seconds=QUICK_CHECK_SECONDS,
        )
        return
    except DatabaseCorrupt as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(
            f"{manager.config.path} is damaged ({problem}), like a copy made during a write: "
            "restore a backup, and make copies with strongroom backup"
        )


def require_tables(manager: DatabaseManager) -> None:
    """Raises `StartRefused` for a database without tables next to files that are made later: the
    tables were in a log that is lost, and a start would create a new installation."""
    directory = DataDirectory(manager.config.path.parent)
    traces = [path.name for path in directory.made_last if os.path.lexists(path)]
    if not traces:
        return
    with manager.sync_pool.connection() as connection:
        if has_tables(connection):
            return
    raise StartRefused(
        f"{manager.config.path} has lost its tables, but {', '.join(traces)} beside it "
        f"{'belongs' if len(traces) == 1 else 'belong'} to an installation that had them: "
        "restore a backup into a new directory"
    )


def try_write(manager: DatabaseManager) -> None:
    """Commit a write that changes nothing, so that write problems show at the start.

    The service starts even if the disk is full, because reads still work. Raises `StartRefused`
    when the database can't be written, and `DatabaseError` when writing fails.
    """
    try:
        with manager.transaction() as connection:
            row = fetch_one(connection, "PRAGMA user_version", ())
            control(connection, f"PRAGMA user_version = {row[0] if row is not None else 0}")
    except DatabaseFull:
        logger.warning("the disk is full: reads work, writes are refused")
    except DatabaseReadOnly as error:
        require_access(DataDirectory(manager.config.path.parent), writing=True)
        raise StartRefused(
            f"{manager.config.path} can't be written ({error}): the file system may be read-only"
        ) from None
