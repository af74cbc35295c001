"""Jobs for the database threads, and their queue."""

import asyncio
import contextlib
import contextvars
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from database.engine import Call, Together
from database.errors import DatabaseBusy, DatabaseClosed
from database.sqlite.connection import guarded

T = TypeVar("T")


class Job(Generic[T]):
    """A function to run on a database thread, and the future of its caller."""

    __slots__ = (
        *("_context", "_function", "arguments", "error", "future", "kind", "queued_at", "result"),
        "together",
    )

    def __init__(
        self,
        function: Callable[[sqlite3.Connection], T],
        future: "asyncio.Future[T]",
        context: contextvars.Context | None,
        kind: Hashable = None,
        together: Together | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self._function = function
        self.together = together
        """Runs jobs with the same value as one; `None` if this one always runs on its own."""
        self.arguments = arguments
        """What it works with, for `together`."""
        self.kind = kind
        """What jobs have in common that fail alike."""
        self._context = context
        self.future = future
        self.result: T | None = None
        self.error: BaseException | None = None
        self.queued_at = time.monotonic()

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the function. Stores its result in `result` or its exception in `error`.

        It may be run again, which replaces both.
        """
        self.error = None
        try:
            if self._context is None:
                self.result = guarded(self._function, connection)
            else:
                # A copy, because a second run must not see what the first one has set.
                self.result = self._context.copy().run(guarded, self._function, connection)
        except BaseException as error:  # noqa: BLE001 - it is raised where the job is awaited
            self.error = error

    @property
    def call(self) -> Call:
        """The job for `together`."""
        # A copy, because a second run must not see what the first one has set.
        return Call((self._context or contextvars.Context()).copy(), self.arguments)

    def deliver(self) -> None:
        """On the event loop: answer the caller, if it still waits."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]
        else:
            self.future.set_exception(self.error)


class JobQueue:
    """Jobs in order of arrival, urgent ones first, with limits on their number and waiting time.

    It belongs to the event loop that made it, except for `take`, `is_urgent` and `len`, which any
    thread may call. Only the thread that removes a job from the queue runs it or gives it up. The
    deque's operations are atomic, so exactly one thread removes each job.
    """

    def __init__(self, *, limit: int, timeout: float) -> None:
        self._limit = limit
        self._timeout = timeout
        self._jobs: deque[Job[Any]] = deque()
        self._urgent: deque[Job[Any]] = deque()
        self._unanswered = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self.refused = 0
        """Jobs refused because the queue was full."""
        self.expired = 0
        """Jobs given up because they waited too long."""
        self.cancelled = 0
        """Jobs whose caller was cancelled while they waited."""

    def __len__(self) -> int:
        return len(self._jobs) + len(self._urgent)

    @property
    def unanswered(self) -> int:
        """The number of callers that wait for a job in the queue or on a thread."""
        return self._unanswered

    @property
    def is_urgent(self) -> bool:
        """Whether an urgent job waits."""
        return bool(self._urgent)

    def take(self) -> Job[Any] | None:
        """Remove and return the next job, which the caller must run; `None` if no job waits."""
        for jobs in (self._urgent, self._jobs):
            try:
                return jobs.popleft()
            except IndexError:
                continue
        return None

    def take_alike(self, job: Job[Any], most: int) -> tuple[list[Job[Any]], Job[Any] | None]:
        """Remove and return up to `most` jobs that can run together with `job`, which was taken.
        Also returns the next job, if it was removed as well: the caller must run it next."""
        alike: list[Job[Any]] = []
        while len(alike) < most:
            following = self.take()
            # It can't be put back, because its caller may be looking for it.
            if following is None or following.together != job.together:
                return alike, following
            alike.append(following)
        return alike, None

    async def submit(
        self,
        function: Callable[[sqlite3.Connection], T],
        context: contextvars.Context | None,
        wake: Callable[[], None],
        *,
        urgent: bool = False,
        kind: Hashable = None,
        together: Together | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> T:
        """Queue `function`, call `wake`, and wait for the result. An urgent job goes before all
        others. `kind` is what jobs have in common that fail alike; `together` may run it with
        others, given their `arguments`.

        Raises the errors of the function. Raises `DatabaseBusy` when the queue is full or the wait
        too long, and `DatabaseClosed` when the queue is closed; the function has not run then. If
        the caller is cancelled, a waiting job is removed, and a running job continues.
        """
        if self._closed:
            raise DatabaseClosed("the database is closed")
        if self._unanswered >= self._limit:
            self.refused += 1
            raise DatabaseBusy("too much work is waiting for the database")
        job = Job(function, self._loop.create_future(), context, kind, together, arguments)
        (self._urgent if urgent else self._jobs).append(job)
        self._unanswered += 1
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._timeout, self._expire)
        wake()
        try:
            result: T = await job.future
            return result
        except (asyncio.CancelledError, GeneratorExit):
            if self._remove(job):
                self.cancelled += 1
            raise
        finally:
            self._unanswered -= 1

    def close(self) -> None:
        """Refuse new and waiting jobs. Running jobs are still answered."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        while (job := self.take()) is not None:
            if not job.future.done():
                job.future.set_exception(DatabaseClosed("the database is closing"))

    def _remove(self, job: Job[Any]) -> bool:
        """Remove the job from the queue; `False` when it is no longer there."""
        for jobs in (self._jobs, self._urgent):
            with contextlib.suppress(ValueError):
                jobs.remove(job)
                return True
        return False

    def _expire(self) -> None:
        """Give up jobs that waited too long. One alarm is enough: the oldest job expires first."""
        self._alarm = None
        left = [r for r in (self._expire_of(self._urgent), self._expire_of(self._jobs)) if r]
        if left:
            self._alarm = self._loop.call_later(min(left), self._expire)

    def _expire_of(self, jobs: "deque[Job[Any]]") -> float | None:
        """Give up expired jobs. Returns the seconds until the next job expires; `None` without
        jobs."""
        now = time.monotonic()
        while True:
            try:
                first = jobs[0]
            except IndexError:
                return None
            remaining = first.queued_at + self._timeout - now
            if remaining > 0:
                return remaining
            if self._remove(first) and not first.future.done():
                self.expired += 1
                first.future.set_exception(
                    DatabaseBusy("the work waited too long for the database")
                )
