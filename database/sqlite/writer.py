"""The only writer: it runs all waiting units of work in one hop and one COMMIT."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from database.engine import Together, Transaction
from database.errors import (
    DatabaseBusy,
    DatabaseClosed,
    DatabaseError,
    DatabaseUnavailable,
    FilesReplaced,
)
from database.sqlite.batches import Batch, BatchRunner
from database.sqlite.connection import ConnectionConfig, HopConnection, finish
from database.sqlite.jobs import Job, JobQueue
from database.sqlite.journal import Journal
from database.sqlite.loop_pause import LoopPause
from database.sqlite.open_files import OpenFiles
from database.sqlite.space import disk_problem
from database.sqlite.statements import atomically, attempt, roll_back
from database.sqlite.transaction import HoppingTransaction, Work, drive
from database.sqlite.wal import Checkpointer
from database.sqlite.write_lock import WriteLock
from database.sqlite.writer_stats import WriterStats

T = TypeVar("T")
logger = logging.getLogger("strongroom.database")

FULL_SECONDS = 5.0
"""How long a disk counts as full after it refused a write, unless it accepts a later one."""
UNTOLD_SECONDS = 2.0
"""The wait before callers are answered whose commit may be in replaced files. A server has ended by
then, without an answer."""


class Writer:
    """Runs writing work on one connection, with one COMMIT for each batch.

    A COMMIT with an unknown outcome and removed or replaced files poison the writer: `poisoned`
    holds the error, `on_poison` is called once, and all later work is refused.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        connection: HopConnection,
        write_lock: WriteLock,
        on_poison: Callable[[DatabaseError], None],
        files: OpenFiles,
        checkpointer: Checkpointer,
        journal: Journal,
    ) -> None:
        self.queue = JobQueue(limit=config.queue_limit, timeout=config.queue_timeout)
        self.poisoned: DatabaseError | None = None
        self._config = config
        self._timeout = config.queue_timeout
        self._connection = connection
        self._write_lock = write_lock
        self._on_poison = on_poison
        self._files = files
        self._journal = journal
        self._batches = BatchRunner(
            config, write_lock, self._answer, self._poison, files, checkpointer, journal
        )
        self._loop = asyncio.get_running_loop()
        self._hop: asyncio.Task[None] | None = None
        self._exclusive = asyncio.Lock()
        self._closing = False
        self._told = False

    @property
    def stats(self) -> WriterStats:
        """The current counters."""
        return self._batches.stats

    @property
    def is_full(self) -> bool:
        """Whether the disk is full, or refused a write in the last `FULL_SECONDS`."""
        refused_at = self._batches.refused_at
        if refused_at is not None and time.monotonic() - refused_at < FULL_SECONDS:
            return True
        return disk_problem(self._config.path.parent) == "full"

    async def run_unit(
        self,
        work: Work[T],
        *,
        urgent: bool = False,
        kind: Hashable = None,
        together: Together | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> T:
        """Run a unit of work, and return its result once it is durable. `kind` is what units have
        in common that fail alike and may gather rows together; `together` runs it with others,
        given their `arguments`."""
        if kind is None:
            kind = _kind_of(work)
        savepoints = self._batches.savepoints

        def run(raw: sqlite3.Connection) -> T:
            return drive(
                work, raw, self._config, self._journal, savepoint=savepoints.needs_one(kind)
            )

        self._require_usable()
        return await self.queue.submit(
            run,
            copy_context(),
            self._wake,
            urgent=urgent,
            kind=kind,
            together=together,
            arguments=arguments,
        )

    async def run_statement(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function`, which executes one statement, and return its result once it is
        durable."""
        kind = function.__qualname__
        savepoints = self._batches.savepoints

        def run(raw: sqlite3.Connection) -> T:
            if savepoints.needs_one(kind):
                return atomically(raw, function, "statement")
            return attempt(raw, function)

        self._require_usable()
        return await self.queue.submit(run, copy_context(), self._wake, kind=kind)

    def _require_usable(self) -> None:
        if self.poisoned is not None:
            raise DatabaseClosed("the database can't be written any more: the service is ending")
        if self._closing:
            raise DatabaseClosed("the database is closed")

    def _wake(self) -> None:
        if self._hop is None and not self._exclusive.locked() and self.poisoned is None:
            self._hop = self._loop.create_task(self._run_hop(), name="strongroom-writer-hop")

    async def _run_hop(self) -> None:
        try:
            pause = LoopPause()
            hop = self._connection.start(partial(self._serve, pause))
            pause.wait(self._config.pause_seconds)
            await hop
        except Exception as error:
            logger.exception("the writer's thread failed")
            self._poison(DatabaseUnavailable(f"the writer's thread failed: {type(error).__name__}"))
        finally:
            self._hop = None
            if len(self.queue):
                self._wake()

    def _serve(self, pause: LoopPause, raw: sqlite3.Connection) -> None:
        """On the writer's thread: run one batch. The event loop pauses for its statements."""
        try:
            if not self._write_lock.acquire(0):
                pause.end()
                # Waiting jobs stay in the queue, where they can expire or be cancelled.
                if not self._write_lock.acquire(self._timeout):
                    return
            try:
                self._batches.serve(raw, self.queue, pause)
            finally:
                self._write_lock.release()
        finally:
            pause.end()

    def _answer(self, batch: Batch) -> None:
        if isinstance(self.poisoned, FilesReplaced) and any(map(_may_be_found, batch)):
            # The batch is committed, and may be in the moved files.
            self._loop.call_soon_threadsafe(self._loop.call_later, UNTOLD_SECONDS, _deliver, batch)
        else:
            self._loop.call_soon_threadsafe(_deliver, batch)

    def look_at_files(self) -> None:
        """Stop writing when a file of the database was removed or replaced. For the event loop."""
        try:
            self._files.require_same()
        except FilesReplaced as error:
            self._poison(error)

    def _poison(self, error: DatabaseError) -> None:
        if self.poisoned is None:
            self.poisoned = error
            if not isinstance(error, FilesReplaced):
                # `FilesReplaced` is reported elsewhere with its own message.
                logger.critical("the writer stopped: %s", error)
            self._loop.call_soon_threadsafe(self._poisoned_on_loop, error)

    def _poisoned_on_loop(self, error: DatabaseError) -> None:
        # The writer's thread and the event loop may both have poisoned the writer.
        if not self._told:
            self._told = True
            self.queue.close()
            self._on_poison(error)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that holds the writer, with one hop for each statement, and commits when
        the block ends.

        Other writes wait until then. It is rolled back when the block raises or is cancelled.
        Raises `DatabaseError` when it can't begin or commit.
        """
        async with self._alone():
            transaction = HoppingTransaction(self._connection, self._journal)
            try:
                await finish(self._connection.run(self._batches.begin))
                yield transaction
            except BaseException:
                transaction.end()
                # If the pool was closed in the meantime, that has rolled it back.
                with contextlib.suppress(DatabaseClosed):
                    await finish(self._connection.run(roll_back))
                raise
            transaction.end()
            await finish(self._connection.run(self._batches.commit_alone))

    async def run_alone(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` between batches with the writer's connection, outside any transaction,
        and return its result. A transaction that it leaves open is rolled back."""

        def run(raw: sqlite3.Connection) -> T:
            try:
                with self._write_lock.table_versions.anything():
                    return function(raw)
            finally:
                roll_back(raw)

        async with self._alone():
            return await finish(self._connection.run(run))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Exclusive use of the writer. Raises `DatabaseBusy` when the wait is too long."""
        self._require_usable()
        try:
            async with asyncio.timeout(self._timeout):
                await self._exclusive.acquire()
        except TimeoutError:
            raise self._too_late() from None
        held = False

        def take_write_lock(_: sqlite3.Connection) -> None:
            nonlocal held
            held = self._write_lock.acquire(self._timeout)

        try:
            if self._hop is not None:
                await asyncio.wait({self._hop})
            self._require_usable()
            # On the writer's thread, so that the event loop never waits for a lock.
            await finish(self._connection.run(take_write_lock))
            if not held:
                raise self._too_late()
            yield
        finally:
            if held:
                self._write_lock.release()
            self._exclusive.release()
            if len(self.queue):
                self._wake()

    def _too_late(self) -> DatabaseBusy:
        self.queue.expired += 1
        return DatabaseBusy("the work waited too long for the database")

    async def checkpoint(self) -> bool:
        """Copy the write-ahead log into the database file and empty it. Returns whether it is
        empty; a reader in the middle of a statement can prevent that."""
        return await self.run_alone(self._batches.truncate_wal)

    def refuse(self) -> None:
        """Refuse new and waiting work. Running work is still answered."""
        self._closing = True
        self.queue.close()

    async def close(self, grace: float) -> None:
        """Wait for running work, and close the connection.

        An interactive transaction gets `grace` seconds to end; then it is rolled back.
        """
        self.refuse()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._exclusive.acquire()
        if self._hop is not None:
            await asyncio.wait({self._hop})
        await self._connection.close()


def _kind_of(work: Work[Any]) -> str:
    """The name of the function or class that made the unit."""
    function: object = work
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _deliver(batch: Batch) -> None:
    for job in batch:
        job.deliver()


def _may_be_found(job: Job[Any]) -> bool:
    return job.error is None or (isinstance(job.error, FilesReplaced) and job.error.is_committed)
