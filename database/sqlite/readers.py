"""Reading: waiting reads share a hop, and a slow statement does not delay the others."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from database.engine import Params, Row
from database.errors import DatabaseError, concerns_connection
from database.sqlite.connection import ConnectionConfig, HopConnection
from database.sqlite.jobs import Job, JobQueue
from database.sqlite.loop_pause import LoopPause
from database.sqlite.statements import (
    control,
    fetch_all,
    fetch_one,
    fetch_while,
    fetch_within,
    roll_back,
)
from database.sqlite.transaction import Work, drive

T = TypeVar("T")
logger = logging.getLogger("strongroom.database")

# After this time a hop delivers its answers, and the next hop takes the waiting jobs.
HOP_SECONDS = 0.002
# Pauses between attempts to reopen a reader, doubled each time up to the longest.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# Interrupts are repeated, because a function may start another statement after an interrupted one.
INTERRUPT_SECONDS = 0.02


@dataclass(slots=True)
class ReaderStats:
    """Counters since the pool was opened; times in seconds."""

    queries: int = 0
    hops: int = 0
    largest_hop: int = 0
    stalls: int = 0
    """Hops that took so long that another reader took over the queue."""
    reopened: int = 0
    """Connections that were replaced after a failure of the file or the disk."""
    wait_total: float = 0.0
    """Time that queries spent in the queue."""


class _Hop:
    """One hop of a reader, and its finished jobs, which the event loop can read."""

    __slots__ = ("began", "done", "jobs", "reader", "stalled", "timer", "waited")

    def __init__(self, reader: HopConnection) -> None:
        self.began = time.monotonic()
        """When its current job began."""
        self.reader = reader
        self.done: deque[Job[Any]] = deque()
        self.jobs = 0
        self.waited = 0.0
        self.stalled = False
        self.timer: asyncio.TimerHandle | None = None


class Readers:
    """Several reading connections that share a queue.

    At any time, one of them drains the queue. When its hop stalls because a statement is slow, its
    finished answers are delivered, and another reader drains the queue.
    """

    def __init__(self, config: ConnectionConfig, connections: list[HopConnection]) -> None:
        self.stats = ReaderStats()
        self.queue = JobQueue(limit=config.queue_limit, timeout=config.queue_timeout)
        self._config = config
        self._idle = connections
        self._all = set(connections)
        self._draining: _Hop | None = None
        self._hops: set[asyncio.Task[None]] = set()
        self._running: set[_Hop] = set()
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of the statement."""
        return await self.queue.submit(lambda raw: fetch_all(raw, sql, params), None, self._wake)

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of the statement, or `None`."""
        return await self.queue.submit(lambda raw: fetch_one(raw, sql, params), None, self._wake)

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        """The first row of the statement, or `None`. Raises `TooLong`."""
        return await self.queue.submit(
            lambda raw: fetch_within(raw, sql, params, most_bytes), None, self._wake
        )

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        """Call `takes` with each row until it returns False."""
        await self.queue.submit(lambda raw: fetch_while(raw, sql, params, takes), None, self._wake)

    async def run_unit(self, work: Work[T], *, urgent: bool = False) -> T:
        """Run a unit of work that only reads, in one snapshot, and return its result."""
        return await self.queue.submit(
            lambda raw: _in_snapshot(work, raw, self._config),
            copy_context(),
            self._wake,
            urgent=urgent,
        )

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` with a reading connection on its thread, and return its result."""
        return await self.queue.submit(function, copy_context(), self._wake)

    def _wake(self) -> None:
        # While a hop drains the queue, there is nothing to do. It takes the job, or starts the next
        # hop when it ends or stalls.
        if self._draining is None and self._idle:
            hop = _Hop(self._idle.pop())
            self._draining = hop
            self._running.add(hop)
            self._start_stall_timer(hop)
            task = self._loop.create_task(self._run_hop(hop), name="strongroom-reader-hop")
            self._hops.add(task)
            task.add_done_callback(self._hops.discard)

    async def _run_hop(self, hop: _Hop) -> None:
        broken = True
        try:
            pause = LoopPause()
            run = hop.reader.start(partial(self._drain, hop, pause))
            if self.queue.is_urgent:
                pause.wait(self._config.pause_seconds)
            broken = await run
        except DatabaseError as error:
            logger.warning("a reader has become unusable: %s", error)
        finally:
            if hop.timer is not None:
                hop.timer.cancel()
            self._running.discard(hop)
            self._deliver(hop)
            self.stats.hops += 1
            self.stats.queries += hop.jobs
            self.stats.largest_hop = max(self.stats.largest_hop, hop.jobs)
            self.stats.wait_total += hop.waited
            if self._draining is hop:
                self._draining = None
            if not broken:
                self._idle.append(hop.reader)
            if len(self.queue):
                self._wake()
        if broken:
            await self._reopen(hop.reader)

    def _drain(self, hop: _Hop, pause: LoopPause, raw: sqlite3.Connection) -> bool:
        """On the reader's thread: run waiting jobs. Returns whether to replace the connection.

        Urgent jobs come first, and the pause lasts only for them. Raises `DatabaseError` when the
        connection can't be used.
        """
        try:
            return self._answer(hop, pause, raw)
        finally:
            pause.end()

    def _answer(self, hop: _Hop, pause: LoopPause, raw: sqlite3.Connection) -> bool:
        now = time.monotonic()
        until = now + HOP_SECONDS
        while True:
            if not self.queue.is_urgent:
                pause.end()
            job = self.queue.take()
            if job is None:
                return False
            hop.jobs += 1
            hop.began = now
            hop.waited += now - job.queued_at
            job.run(raw)
            hop.done.append(job)
            if job.error is not None and concerns_connection(job.error):
                return True
            if raw.in_transaction:
                # An open transaction would keep its snapshot, and so pin the write-ahead log.
                roll_back(raw)
            now = time.monotonic()
            if hop.stalled or now >= until:
                return False

    def is_reading(self) -> bool:
        """Whether a read is running. Callable on any thread."""
        return bool(self._running)

    def interrupt(self, before: float) -> None:
        """Interrupt reads that began before this time; they fail with `DatabaseBusy`. Callable on
        any thread."""
        for hop in tuple(self._running):
            if hop.began < before:
                hop.reader.interrupt_statement()

    def _start_stall_timer(self, hop: _Hop) -> None:
        hop.timer = self._loop.call_later(self._config.stall_seconds, self._stalled, hop)

    def _stalled(self, hop: _Hop) -> None:
        """A hop takes too long: deliver its finished answers, and let another reader take over."""
        if not hop.stalled:
            hop.stalled = True
            self.stats.stalls += 1
        self._deliver(hop)
        if self._draining is hop:
            self._draining = None
        if len(self.queue):
            self._wake()
        self._start_stall_timer(hop)

    def _deliver(self, hop: _Hop) -> None:
        while hop.done:
            hop.done.popleft().deliver()

    async def _reopen(self, broken: HopConnection) -> None:
        """Replace a connection whose file access failed."""
        self._all.discard(broken)
        try:
            await broken.close()
        except sqlite3.Error as error:
            # It could not even be closed, which does not prevent its replacement.
            logger.warning("a broken reader did not close: %s", type(error).__name__)
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            replacement = HopConnection(
                self._config, read_only=True, name=broken.name, yields=broken.yields
            )
            try:
                await replacement.open()
            except Exception as error:  # noqa: BLE001 - no thread, no descriptor, no file
                logger.warning("a reader could not be reopened and will be retried: %s", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self._all.add(replacement)
            self._idle.append(replacement)
            self.stats.reopened += 1
            if len(self.queue):
                self._wake()
            return

    async def close(self, grace: float) -> None:
        """Refuse waiting jobs, interrupt running statements after `grace` seconds, and close every
        connection."""
        self.queue.close()
        self._closing.set()
        running = set(self._hops)
        timeout = grace
        while running:
            _, running = await asyncio.wait(running, timeout=timeout)
            if running:
                for connection in self._all:
                    connection.interrupt_statement()
                timeout = INTERRUPT_SECONDS
        for connection in self._all:
            await connection.close()
        self._idle.clear()

    @property
    def alive(self) -> int:
        """The number of usable connections."""
        return len(self._all)


class BothReaders:
    """The reads of both kinds of readers, for the checkpointer."""

    def __init__(self, *readers: Readers) -> None:
        self._readers = readers

    def is_reading(self) -> bool:
        """Whether a read is running. Callable on any thread."""
        return any(readers.is_reading() for readers in self._readers)

    def interrupt(self, before: float) -> None:
        """Interrupt reads that began before this time. Callable on any thread."""
        for readers in self._readers:
            readers.interrupt(before)


def _in_snapshot(work: Work[T], raw: sqlite3.Connection, owner: object) -> T:
    control(raw, "BEGIN")
    try:
        return drive(work, raw, owner, savepoint=False)
    finally:
        roll_back(raw)
