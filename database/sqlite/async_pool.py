"""The asynchronous pool: several readers, one writer, and whole units of work in one hop."""

import asyncio
import sqlite3
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any, TypeVar

from database.engine import (
    CommitFaults,
    Params,
    Row,
    Together,
    Transaction,
    WriteEntries,
    in_unit_of_work,
)
from database.errors import DatabaseClosed, DatabaseError, WrongEventLoop
from database.slow_reads import may_be_slow
from database.sqlite.commit_faults import ObservedQueue
from database.sqlite.connection import ConnectionConfig, HopConnection, finish
from database.sqlite.dialect import SQLITE
from database.sqlite.journal import Journal
from database.sqlite.open_files import OpenFiles
from database.sqlite.readers import BothReaders, Readers
from database.sqlite.statements import execute, execute_many, fetch_all, fetch_one, insert
from database.sqlite.table_versions import TableVersions
from database.sqlite.transaction import Work, unit_transaction
from database.sqlite.wal import Checkpointer, wal_bytes
from database.sqlite.write_lock import WriteLock
from database.sqlite.writer import Writer

T = TypeVar("T")


async def nothing() -> None:
    """An empty unit of work, to check that units can run."""


def nobody_to_tell(_: DatabaseError) -> None:
    """The default for `on_poison`: do nothing."""


class AsyncConnectionPool:
    """An `Executor` for an event loop, which also runs units of work and transactions.

    Reads go to the readers, or inside `reading_slowly` to those for slow reads. Every write is
    answered after its COMMIT, which it may share with other waiting writes. All methods raise
    `DatabaseBusy` when the work did not get its turn in time, `DatabaseClosed` when the pool is not
    open, and `WrongEventLoop` on another loop than the one that opened it. After these errors, the
    work had no effect.
    """

    dialect = SQLITE

    def __init__(
        self,
        config: ConnectionConfig,
        write_lock: WriteLock | None = None,
        on_poison: Callable[[DatabaseError], None] = nobody_to_tell,
        reads_elsewhere: Callable[[], bool] = lambda: False,
        close_others: Callable[[], None] = lambda: None,
        faults: CommitFaults | None = None,
    ) -> None:
        """`reads_elsewhere` returns whether this process reads the database outside of this pool;
        `close_others` closes the process's other connections, on any thread. `faults` hears what
        is in each commit."""
        self._config = config
        self._write_lock = write_lock or WriteLock()
        self._on_poison = on_poison
        self._reads_elsewhere = reads_elsewhere
        self._close_others = close_others
        self._faults = faults
        self.journal = Journal()
        """Set its `write_entries` before a unit appends the first entry."""
        self._checkpointer: Checkpointer | None = None
        self._files: OpenFiles | None = None
        self._open: tuple[Writer, Readers, Readers] | None = None
        """The writer, the readers, and those for slow reads."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that opened the pool; `None` when the pool is not open."""
        self._changing = asyncio.Lock()

    @property
    def table_versions(self) -> TableVersions:
        """The versions of the tables, which commits step."""
        return self._write_lock.table_versions

    async def open(self) -> None:
        """Open all connections. Raises `DatabaseError` when the file can't be used."""
        self.check_loop()
        async with self._changing:
            if self._open is not None:
                return
            try:
                await finish(self._connect())
            except asyncio.CancelledError:
                await finish(self._disconnect(0))
                raise

    async def _connect(self) -> None:
        opened: list[HopConnection] = []
        try:
            for name in _names(self._config):
                connection = HopConnection(
                    self._config,
                    read_only=name != "writer",
                    name=f"strongroom-{name}",
                    yields=name.startswith(_SLOW),
                )
                await connection.open()
                opened.append(connection)
            # SQLite opens the log with the first statement that reads.
            await opened[0].run(lambda raw: fetch_one(raw, "SELECT 1 FROM sqlite_schema", ()))
            files = OpenFiles(self._config)
            files.remember()
        except BaseException:
            for connection in reversed(opened):
                await connection.close()
            raise
        quick = 1 + self._config.readers
        readers = Readers(self._config, opened[1:quick])
        slow_readers = Readers(self._config, opened[quick:])
        checkpointer = Checkpointer(
            self._config, files, BothReaders(readers, slow_readers), self._reads_elsewhere
        )
        writer = Writer(
            self._config,
            opened[0],
            self._write_lock,
            self._on_poison,
            files,
            checkpointer,
            self.journal,
        )
        if self._faults is not None:
            writer.queue = ObservedQueue(
                self._faults, limit=self._config.queue_limit, timeout=self._config.queue_timeout
            )
        self._checkpointer = checkpointer
        self._files = files
        self._open = writer, readers, slow_readers
        self._loop = asyncio.get_running_loop()

    async def close(self, grace: float = 2.0) -> None:
        """Refuse new work, let running work finish, and close every connection.

        After `grace` seconds, running reads are interrupted, and an interactive transaction is
        rolled back. A running batch is awaited. A cancelled caller continues only when everything
        is closed.
        """
        self.check_loop(closing=True)
        async with self._changing:
            await finish(self._disconnect(grace))

    async def _disconnect(self, grace: float) -> None:
        if self._open is None:
            return
        writer, *all_readers = self._open
        self._open = None
        writer.refuse()
        # Readers first: the last connection to close copies the write-ahead log into the file, and
        # only the writer's connection may do that.
        await asyncio.gather(*(readers.close(grace) for readers in all_readers))
        await asyncio.to_thread(self._close_others)
        await writer.close(grace)
        if self._files is not None and not self._reads_elsewhere():
            self._files.close()
        self._loop = None

    @property
    def is_open(self) -> bool:
        """Whether `open()` has succeeded and `close()` has not begun."""
        return self._open is not None

    @property
    def writer(self) -> Writer:
        """The writer. Raises `DatabaseClosed` when the pool is not open."""
        return self._parts()[0]

    @property
    def readers(self) -> Readers:
        """The readers. Raises `DatabaseClosed` when the pool is not open."""
        return self._parts()[1]

    @property
    def slow_readers(self) -> Readers:
        """The readers for slow reads. Raises `DatabaseClosed` when the pool is not open."""
        return self._parts()[2]

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of a reading statement."""
        return await self._its_readers().fetch_all(sql, params)

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a reading statement, or `None` without a row."""
        return await self._its_readers().fetch_one(sql, params)

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        """The first row of a reading statement, or `None`. Raises `TooLong` as soon as any text
        or row that it reads or makes has more than `most_bytes`."""
        return await self._its_readers().fetch_within(sql, params, most_bytes)

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        """Call `takes` with each row of a reading statement, on a reader's thread, until it returns
        False. Later rows are not read."""
        await self._its_readers().fetch_while(sql, params, takes)

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a writing statement. Returns the number of changed rows once it is durable."""
        return await self._parts()[0].run_statement(lambda raw: execute(raw, sql, params))

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int:
        """Run a writing statement for each of `rows`, atomically. Returns the number of changed
        rows."""
        return await self._parts()[0].run_statement(lambda raw: execute_many(raw, sql, rows))

    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]:
        """Run an INSERT of this many rows. Returns their ids once they are durable."""
        return await self._parts()[0].run_statement(lambda raw: insert(raw, sql, params, rows=rows))

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a writing statement with RETURNING. Returns its rows once they are durable."""
        return await self._parts()[0].run_statement(lambda raw: fetch_all(raw, sql, params))

    async def append(self, entries: Sequence[Any]) -> None:
        """Append entries in a unit of their own. Returns once they are durable."""

        async def work() -> None:
            async with self.transaction() as tx:
                await tx.append(entries)

        await self.run_unit(work)

    async def gather(self, write: WriteEntries, rows: Sequence[Any]) -> None:
        """Have `write` store the rows in a unit of their own. Returns once they are durable."""

        async def work() -> None:
            async with self.transaction() as tx:
                await write(tx, rows)

        await self.run_unit(work)

    def time(self, read: Callable[[], str]) -> str:
        """The result of `read`."""
        return read()

    def waiting_entries(self) -> Sequence[Any]:
        """None: there is no open transaction."""
        return ()

    async def run_unit(
        self,
        work: Work[T],
        *,
        read_only: bool = False,
        urgent: bool = False,
        kind: Hashable = None,
        together: Together | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> T:
        """Run a unit of work to its end on a database thread, and return its result.

        `work` makes a coroutine that uses `transaction()` and awaits only its statements. The unit
        is atomic. With `read_only`, all its statements see one snapshot and may not write. An
        urgent unit runs before all waiting ones. `kind` is what units have in common that fail
        alike and may gather rows together; without it, they are made by the same function. Units
        with the same `together` that wait at the same time may run as one, by calling it with the
        `arguments` of each. Raises the errors of the unit, and `UnitOfWorkError` when it awaits
        anything else.
        """
        if read_only:
            return await self._its_readers().run_unit(work, urgent=urgent)
        return await self.writer.run_unit(
            work, urgent=urgent, kind=kind, together=together, arguments=arguments
        )

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction, committed when the block ends and rolled back when it raises.

        Inside a unit of work it is the unit's transaction and costs no hop. Elsewhere it holds the
        writer until the block ends, with one hop for each statement, while other writes wait.
        """
        if in_unit_of_work():
            return unit_transaction(self._config)
        return self.writer.transaction()

    async def run_read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` with a reading connection on its thread, and return its result."""
        return await self._its_readers().run(function)

    async def run_alone(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` on the writer's thread between two batches, and return its result."""
        return await self.writer.run_alone(function)

    async def look_at_files(self) -> None:
        """Stop writing when a file of the database was removed or replaced, and try again to empty
        a log that another process has pinned. To be called about once a second."""
        if self._open is None:
            return
        self.check_loop()
        writer = self.writer
        writer.look_at_files()
        if self._checkpointer is not None and self._checkpointer.is_pinned:
            # A checkpoint follows a commit, so make an empty one.
            await writer.run_unit(nothing)

    def stats(self) -> dict[str, Any]:
        """Counters and gauges of the pool: see `WriterStats` and `ReaderStats`; sizes in bytes."""
        if self._open is None:
            return {"open": False}
        writer, readers, slow_readers = self._open
        return {
            "open": True,
            "poisoned": writer.poisoned is not None,
            "writer": {**asdict(writer.stats), **_queue_stats(writer)},
            "readers": _reader_stats(readers),
            "slow_readers": _reader_stats(slow_readers),
            "wal_bytes": wal_bytes(self._config),
            "wal_pinned": self._checkpointer is not None and self._checkpointer.is_pinned,
        }

    def check_loop(self, *, closing: bool = False) -> None:
        """Raises `WrongEventLoop` when this is not the loop that opened the pool. A closed pool
        belongs to no loop, and any loop can close a pool whose loop has ended."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return
        if not (closing and self._loop.is_closed()):
            raise WrongEventLoop

    def _its_readers(self) -> Readers:
        """The readers for what the caller reads."""
        _, readers, slow_readers = self._parts()
        return slow_readers if may_be_slow() else readers

    def _parts(self) -> tuple[Writer, Readers, Readers]:
        if self._open is None:
            raise DatabaseClosed("the database is not open")
        if self._loop is not asyncio.get_running_loop():
            raise WrongEventLoop
        return self._open


_SLOW = "slow-reader-"


def _names(config: ConnectionConfig) -> list[str]:
    """The names of the connections, the writer's first, then the readers'."""
    slow = (f"{_SLOW}{n}" for n in range(config.slow_readers))
    return ["writer", *(f"reader-{n}" for n in range(config.readers)), *slow]


def _reader_stats(readers: Readers) -> dict[str, Any]:
    return {**asdict(readers.stats), **_queue_stats(readers), "connections": readers.alive}


def _queue_stats(part: Writer | Readers) -> dict[str, int]:
    queue = part.queue
    return {
        "waiting": len(queue),
        "unanswered": queue.unanswered,
        "refused": queue.refused,
        "expired": queue.expired,
        "cancelled": queue.cancelled,
    }
