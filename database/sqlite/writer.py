"""The one writer: every unit of work that waits, in one hop and one COMMIT."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from database.engine import Transaction
from database.errors import (
    DatabaseBusy,
    DatabaseClosed,
    DatabaseError,
    DatabaseUnavailable,
    FilesReplaced,
)
from database.sqlite.batches import Batch, BatchRunner, WriterStats
from database.sqlite.connection import ConnectionConfig, HopConnection, finish
from database.sqlite.jobs import Job, JobQueue
from database.sqlite.loop_pause import LoopPause
from database.sqlite.open_files import OpenFiles
from database.sqlite.space import disk_problem
from database.sqlite.statements import atomically, roll_back
from database.sqlite.transaction import HoppingTransaction, Work, drive
from database.sqlite.wal import Checkpointer
from database.sqlite.write_lock import WriteLock

T = TypeVar("T")
logger = logging.getLogger("strongroom.database")

FULL_SECONDS = 5.0
"""How long a disk counts as full after it refused a write, unless it takes another."""
UNTOLD_SECONDS = 2.0
"""After how long callers hear that nobody knows where their commit went; a server has ended by
then, and has told them nothing."""


class Writer:
    """Runs writing work on one connection; a batch of it to a COMMIT.

    A COMMIT whose outcome is unknown, and files that were removed or replaced, poison the writer:
    `poisoned` holds the error, `on_poison` is called once, and all later work is refused.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        connection: HopConnection,
        write_lock: WriteLock,
        on_poison: Callable[[DatabaseError], None],
        files: OpenFiles,
        checkpointer: Checkpointer,
    ) -> None:
        self.queue = JobQueue(limit=config.queue_limit, timeout=config.queue_timeout)
        self.poisoned: DatabaseError | None = None
        self._config = config
        self._timeout = config.queue_timeout
        self._connection = connection
        self._write_lock = write_lock
        self._on_poison = on_poison
        self._files = files
        self._batches = BatchRunner(
            config, write_lock, self._answer, self._poison, files, checkpointer
        )
        self._loop = asyncio.get_running_loop()
        self._hop: asyncio.Task[None] | None = None
        self._exclusive = asyncio.Lock()
        self._closing = False
        self._told = False

    @property
    def stats(self) -> WriterStats:
        """The counters as they are now."""
        return self._batches.stats

    @property
    def is_full(self) -> bool:
        """Whether the disk has no room, or a write was refused for that a moment ago."""
        refused_at = self._batches.refused_at
        if refused_at is not None and time.monotonic() - refused_at < FULL_SECONDS:
            return True
        return disk_problem(self._config.path.parent) == "full"

    async def run_unit(self, work: Work[T], *, urgent: bool = False) -> T:
        """The result of a unit of work, once it is durable."""
        return await self._submit(lambda raw: drive(work, raw, self._config), urgent=urgent)

    async def run_statement(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` returned for its one statement, once that is durable."""
        return await self._submit(lambda raw: atomically(raw, function, "statement"))

    async def _submit(
        self, function: Callable[[sqlite3.Connection], T], *, urgent: bool = False
    ) -> T:
        self._require_usable()
        return await self.queue.submit(function, copy_context(), self._wake, urgent=urgent)

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
        """On the writer's thread: run one batch, while the event loop pauses for its statements."""
        try:
            if not self._write_lock.acquire(0):
                pause.end()
                # What waits stays in the queue meanwhile, where it can expire or be cancelled.
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
            # It is committed, and may be found where the files are now.
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
                # That one says what happened by itself.
                logger.critical("the writer stopped: %s", error)
            self._loop.call_soon_threadsafe(self._poisoned_on_loop, error)

    def _poisoned_on_loop(self, error: DatabaseError) -> None:
        # The writer's thread and the event loop may both have found something.
        if not self._told:
            self._told = True
            self.queue.close()
            self._on_poison(error)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that holds the writer, a hop a statement, and commits at the end.

        Other writes wait meanwhile. Rolled back when the block raises or is cancelled. Raises
        `DatabaseError` when it can't begin or commit.
        """
        async with self._alone():
            transaction = HoppingTransaction(self._connection)
            try:
                await finish(self._connection.run(self._batches.begin))
                yield transaction
            except BaseException:
                transaction.end()
                # A pool that was closed meanwhile has rolled it back.
                with contextlib.suppress(DatabaseClosed):
                    await finish(self._connection.run(roll_back))
                raise
            transaction.end()
            await finish(self._connection.run(self._batches.commit_alone))

    async def run_alone(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` returns, called between batches on the writer's connection, outside any
        transaction; one that it leaves open is rolled back."""

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
        """The writer to oneself. Raises `DatabaseBusy` when that takes too long."""
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
        """Copy the write-ahead log into the database file and empty it; whether it is empty now,
        which a reader in the middle of a statement can prevent."""
        return await self.run_alone(self._batches.truncate_wal)

    def refuse(self) -> None:
        """Refuse new work and what waits; what runs keeps its answer."""
        self._closing = True
        self.queue.close()

    async def close(self, grace: float) -> None:
        """Let what runs finish and close the connection.

        An interactive transaction gets `grace` seconds to end; then it is rolled back.
        """
        self.refuse()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._exclusive.acquire()
        if self._hop is not None:
            await asyncio.wait({self._hop})
        await self._connection.close()


def _deliver(batch: Batch) -> None:
    for job in batch:
        job.deliver()


def _may_be_found(job: Job[Any]) -> bool:
    return job.error is None or (isinstance(job.error, FilesReplaced) and job.error.is_committed)
