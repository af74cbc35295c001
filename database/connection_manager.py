"""The interface of the database for the rest of the code: one manager over both pools."""

import asyncio
import contextlib
import sqlite3
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

from database.engine import CommitFaults, Executor, Params, Row, Transaction
from database.errors import STATEMENT_ERRORS, DatabaseError, translate
from database.sqlite.async_pool import AsyncConnectionPool, nobody_to_tell, nothing
from database.sqlite.commit_faults import FaultyWriteLock
from database.sqlite.connection import ConnectionConfig, finish
from database.sqlite.process_lock import ProcessLock
from database.sqlite.space import disk_problem
from database.sqlite.statements import execute, fetch_all, fetch_tuples, fetch_while
from database.sqlite.sync_pool import ConnectionPool
from database.sqlite.write_lock import WriteLock

__all__ = [
    "AsyncConnectionPool",
    "ConnectionConfig",
    "ConnectionPool",
    "DatabaseManager",
    "Executor",
    "Transaction",
    "get_database_manager",
]


class DatabaseManager:
    """Owns the database file: its process lock, the synchronous and the asynchronous pool.

    The synchronous pool works at once; `open()` starts the asynchronous one. Every method raises
    `DatabaseError`, never an exception of the driver.
    """

    def __init__(
        self,
        config: ConnectionConfig | Path | str,
        *,
        on_poison: Callable[[DatabaseError], None] = nobody_to_tell,
        faults: CommitFaults | None = None,
    ) -> None:
        """With `faults`, commits fail when they say so."""
        self.config = (
            config if isinstance(config, ConnectionConfig) else ConnectionConfig(Path(config))
        )
        self.process_lock = ProcessLock(self.config.path)
        self._on_poison = on_poison
        write_lock = WriteLock() if faults is None else FaultyWriteLock(faults)
        self.sync_pool = ConnectionPool(self.config, write_lock)
        self.async_pool = AsyncConnectionPool(
            self.config,
            write_lock,
            self._poisoned,
            lambda: self.sync_pool.reading > 0,
            self.sync_pool.close,
            faults,
        )

    async def open(self) -> None:
        """Take the process lock and open the asynchronous pool.

        Raises `ProcessLockHeld` when another process, or another manager in this process, has the
        file. A `read_only` configuration needs no lock. Raises `WrongEventLoop` when the manager
        is open on another loop.
        """
        self.async_pool.check_loop()
        self._take_process_lock()
        try:
            self.sync_pool.open()
            await self.async_pool.open()
        except BaseException:
            self.process_lock.release()
            raise
        _open_managers.add(self)

    async def close(self) -> None:
        """Close both pools and release the process lock. Running work is awaited, also when the
        caller is cancelled. Raises `WrongEventLoop` when it is open on another loop that has not
        ended."""
        self.async_pool.check_loop(closing=True)
        _open_managers.discard(self)
        await finish(self._close())

    async def _close(self) -> None:
        try:
            await self.async_pool.close()
            # The last connection to close makes a checkpoint, which may take a moment.
            await asyncio.to_thread(self.sync_pool.close)
        finally:
            self.process_lock.release()

    def _poisoned(self, error: DatabaseError) -> None:
        self.process_lock.in_order = False
        self._on_poison(error)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def execute_query(self, query: str, params: Params = ()) -> list[dict[str, Any]]:
        """The rows of a reading statement, each as a dict by column name."""
        with self.sync_pool.connection(read_only=True) as connection:
            return [dict(row) for row in fetch_all(connection, query, params)]

    def fetch_tuples(self, query: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """The rows of a reading statement as tuples, which are faster than dicts. Raises
        `MalformedTextFound` for a text that is not UTF-8."""
        with self.sync_pool.connection(read_only=True) as connection:
            return fetch_tuples(connection, query, params)

    def fetch_while(self, query: str, params: Params, takes: Callable[[Row], bool]) -> None:
        """Call `takes` with each row of a reading statement until it returns False. All rows show
        the same moment, and no more than one is in memory. Raises `MalformedTextFound` for a text
        that is not UTF-8."""
        with self.sync_pool.connection(read_only=True) as connection:
            fetch_while(connection, query, params, takes, any_text=False)

    def execute_command(self, command: str, params: Params = ()) -> int:
        """Run one writing statement in its own transaction. Returns the number of changed rows."""
        with self.transaction() as connection:
            return execute(connection, command, params)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction, committed when the block ends, rolled back when it
        raises.

        Takes the process lock, and keeps it until `close()`: see `open()`. Raises `DatabaseBusy`
        when it waits too long for other writers.
        """
        self._take_process_lock()
        try:
            with self.sync_pool.transaction() as connection:
                yield connection
        except STATEMENT_ERRORS as error:
            raise translate(error) from None

    async def async_execute_query(self, query: str, params: Params = ()) -> list[dict[str, Any]]:
        """The rows of a reading statement, each as a dict by column name."""
        return [dict(row) for row in await self.async_pool.fetch_all(query, params)]

    async def async_execute_command(self, command: str, params: Params = ()) -> int:
        """Run one writing statement. Returns the number of changed rows once it is durable."""
        return await self.async_pool.execute(command, params)

    def _take_process_lock(self) -> None:
        if not self.config.read_only:
            self.process_lock.acquire()

    def async_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction on the writer: see `AsyncConnectionPool.transaction`."""
        return self.async_pool.transaction()

    def has_tables(self, *names: str) -> bool:
        """Whether the database has all these tables. Works with any schema version."""
        tables = self.execute_query("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {table["name"] for table in tables}.issuperset(names)

    def has_read_only_storage(self) -> bool:
        """Whether the file system of the database is read-only."""
        return disk_problem(self.config.path.parent) == "read-only"

    def get_stats(self) -> dict[str, Any]:
        """Counters and gauges of both pools; sizes in bytes, times in seconds."""
        return {
            "path": str(self.config.path),
            "sqlite_version": sqlite3.sqlite_version,
            "sync": {"in_use": self.sync_pool.in_use},
            "async": self.async_pool.stats(),
        }

    async def health_check(self) -> dict[str, Any]:
        """`{"healthy": bool, "read": bool, "write": bool, "detail": str | None}`; never raises a
        `DatabaseError`. A write here is an empty transaction on the writer."""
        # Both run before waiting work, because health matters most under overload. Both run at
        # once, because each waits for the work that is running.
        read, write = await asyncio.gather(
            _failure(self.async_pool.run_unit(self._read, read_only=True, urgent=True)),
            _failure(self.async_pool.run_unit(nothing, urgent=True)),
        )
        return {
            "healthy": read is None and write is None,
            "read": read is None,
            "write": write is None,
            "detail": read or write,
        }

    async def _read(self) -> None:
        async with self.async_pool.transaction() as tx:
            await tx.fetch_one("SELECT 1")


async def _failure(work: Awaitable[None]) -> str | None:
    """Why the database refuses the work; `None` when the work succeeds."""
    try:
        await work
    except DatabaseError as error:
        return str(error)
    return None


# For `get_database_manager()` only. It keeps no manager alive.
_open_managers: "weakref.WeakSet[DatabaseManager]" = weakref.WeakSet()


def get_database_manager(config: ConnectionConfig | Path | str | None = None) -> DatabaseManager:
    """A new manager for `config`, not opened; without `config`, the open manager.

    Raises `LookupError` unless exactly one manager is open.
    """
    if config is not None:
        return DatabaseManager(config)
    managers = list(_open_managers)
    if len(managers) != 1:
        raise LookupError(f"{len(managers)} database managers are open: pass the one to use")
    return managers[0]
