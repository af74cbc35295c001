"""Opening SQLite connections, with every setting read back, and running functions on their
threads."""

import asyncio
import contextlib
import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from database.errors import (
    DRIVER_ERRORS,
    DatabaseClosed,
    DatabaseConfigurationError,
    translate,
)
from database.sqlite.table_versions import ObservedConnection

T = TypeVar("T")

NICENESS = 5
"""How much nicer a thread is that yields. With 5 it gets a quarter of a processor that another
thread wants too. With more, it would hold the interpreter lock for too long when it has it."""

# At DEBUG, aiosqlite logs its calls with their parameters.
logging.getLogger("aiosqlite").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """Where the database is and how the pools behave. Times are in seconds."""

    path: Path
    readers: int = 4
    """The number of reader connections, each with its own thread."""
    slow_readers: int = 2
    """The number of those for reads that may be slow. They have a queue of their own."""
    busy_timeout: float = 5.0
    """How long SQLite waits for another process's lock."""
    queue_timeout: float = 5.0
    """How long work may wait for its turn before it is refused with `DatabaseBusy`."""
    queue_limit: int = 10_000
    """How much work may wait; further work is refused with `DatabaseBusy` at once."""
    batch_units: int = 256
    """The most units of work that share a COMMIT."""
    batch_seconds: float = 0.02
    """A batch takes no further unit after this time."""
    pause_seconds: float = 0.02
    """The longest pause of the event loop for a batch's statements: see `LoopPause`."""
    stall_seconds: float = 0.004
    """After this time on one hop, another reader takes over the queue."""
    checkpoint_frames: int = 2_000
    """WAL frames after which the writer checkpoints; 0 leaves checkpoints to another process."""
    wal_limit_bytes: int = 64 * 1024 * 1024
    """The size of the log beyond which the pool interrupts its own reads, so that the log can be
    emptied. The log never reaches twice this size while no other process reads."""
    evict_seconds: float = 1.0
    """How long a read may take while the log is larger than that."""
    cache_kib: int = 8 * 1024
    """Page cache of a writing connection."""
    reader_cache_kib: int = 2 * 1024
    """Page cache of a reading connection. Each commit of another connection empties it."""
    cached_statements: int = 256
    read_only: bool = False
    """Create and change nothing, so that reading is safe while another process owns the file."""

    @property
    def wal_path(self) -> Path:
        """The write-ahead log beside the database file, after following symbolic links."""
        path = self.path.resolve()
        return path.with_name(path.name + "-wal")

    @property
    def shm_path(self) -> Path:
        """The log's index, in the same directory."""
        path = self.path.resolve()
        return path.with_name(path.name + "-shm")


def open_connection(config: ConnectionConfig, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the product's settings, each read back after it was set.

    Statements autocommit unless the caller runs BEGIN. Raises `DatabaseError` when the file can't
    be opened or a setting did not take effect. A new file is accessible only to its owner.
    """
    uri = config.path.absolute().as_uri() + ("?mode=ro" if config.read_only else "")
    if not config.read_only:
        _make_private(config.path)
    try:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=config.busy_timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=config.cached_statements,
            factory=sqlite3.Connection if read_only or config.read_only else ObservedConnection,
        )
    except sqlite3.Error as error:
        raise translate(error) from None
    try:
        for pragma, value, expected in _pragmas(config, read_only=read_only or config.read_only):
            connection.execute(f"PRAGMA {pragma} = {value}").close()
            found = connection.execute(f"PRAGMA {pragma}").fetchone()
            if found is None or found[0] != expected:
                raise DatabaseConfigurationError(
                    f"PRAGMA {pragma} is {found[0] if found else 'unknown'} "
                    f"after it was set to {value}"
                )
    except sqlite3.Error as error:
        connection.close()
        raise translate(error) from None
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def _make_private(path: Path) -> None:
    """Create the file if it does not exist, empty and accessible only to its owner."""
    # SQLite would create it with the mode that the umask allows, and its log and index with the
    # same mode. An existing file is not opened, because closing it here would drop the locks that
    # connections have on it.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    # If this fails, SQLite reports why.
    with contextlib.suppress(OSError):
        os.close(os.open(path, flags, 0o600))


def _pragmas(
    config: ConnectionConfig, *, read_only: bool
) -> list[tuple[str, str | int, str | int]]:
    cache_kib = config.reader_cache_kib if read_only else config.cache_kib
    settings: list[tuple[str, str | int, str | int]] = [
        # First, so that settings that need a lock wait for it.
        ("busy_timeout", int(config.busy_timeout * 1000), int(config.busy_timeout * 1000)),
        ("synchronous", "FULL", 2),
        ("foreign_keys", "ON", 1),
        ("trusted_schema", "OFF", 0),
        ("cell_size_check", "ON", 1),
        ("secure_delete", "FAST", 2),
        ("temp_store", "MEMORY", 2),
        ("cache_size", -cache_kib, -cache_kib),
        # SQLite before 3.51.3 can corrupt the file when one connection checkpoints while another
        # writes, so only the writer's thread checkpoints, between its batches.
        ("wal_autocheckpoint", 0, 0),
    ]
    if not config.read_only:
        settings.insert(1, ("journal_mode", "WAL", "wal"))
    if read_only:
        settings.append(("query_only", "ON", 1))
    return settings


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. A cancelled caller continues only when `work` has ended, even if it is
    cancelled several times."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        # The caller is cancelled. Retrieve the error, or asyncio would report it as unretrieved.
        task.exception()
    raise cancelled


class HopConnection(aiosqlite.Connection):
    """An aiosqlite connection that also runs whole functions on its thread.

    One `run` is one hop to the thread and back, however many statements the function runs.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        *,
        read_only: bool,
        name: str,
        yields: bool = False,
    ) -> None:
        super().__init__(lambda: open_connection(config, read_only=read_only), iter_chunk_size=64)
        self.name = name
        """The name of its thread."""
        self.yields = yields
        """Whether the thread lets other threads of the machine run first, where the system can do
        that for one thread."""
        self._thread.name = name
        # A connection that was not closed must not keep the interpreter from exiting.
        self._thread.daemon = True
        self._stopped: asyncio.Future[Any] | None = None

    async def open(self) -> None:
        """Start the thread and connect. Raises `DatabaseError` after the thread has ended."""
        try:
            await self
            if self.yields:
                await self.run(_yield)
        except BaseException:
            if self._stopped is not None:
                # The thread reports its end to the event loop, which must still run then.
                await self._stopped
            raise

    def stop(self) -> "asyncio.Future[Any] | None":
        """Tell the thread to end. The returned future is done when it has ended."""
        self._stopped = super().stop()
        return self._stopped

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` with the driver's connection on its thread, and return its result.

        Cancelling the caller does not stop a function that has started. Raises the errors of the
        function, those of the driver as `DatabaseError`, and `DatabaseClosed` after `close`.
        """
        return await self.start(function)

    def start(self, function: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """The same, started at once. The returned future is done when the function is."""
        connection = self._connection
        if connection is None or not self._running:
            raise DatabaseClosed("the database is closed")
        # Does the same as aiosqlite's own methods, without a coroutine that must be awaited.
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, partial(guarded, function, connection)))
        return future

    def interrupt_statement(self) -> None:
        """Interrupt the statement that runs on the thread, if there is one."""
        if self._connection is not None:
            try:
                self._connection.interrupt()
            except sqlite3.ProgrammingError:
                # The connection was closed in the meantime, so no statement runs.
                return


def _yield(_: sqlite3.Connection) -> None:
    """Lower the priority of the thread that calls this, on Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness + NICENESS, 19))


def guarded(function: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    """The result of `function`. Raises the driver's errors as `DatabaseError`, and `RuntimeError`
    instead of `StopIteration`, which a future can't hold."""
    try:
        return function(connection)
    except DRIVER_ERRORS as error:
        raise translate(error) from None
    except StopIteration as error:
        raise RuntimeError("a function on a database thread raised StopIteration") from error
