"""Background work: one task at a time, which can be asked to stop."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from backend.services.principal import SYSTEM, acting_as

T = TypeVar("T")


class StopSignal:
    """Tells background work to stop between two steps."""

    def __init__(self) -> None:
        self._set = asyncio.Event()

    def is_set(self) -> bool:
        """Whether the work has to stop."""
        return self._set.is_set()

    def set(self) -> None:
        """Tell the work to stop, and wake it if it rests."""
        self._set.set()

    async def rest(self, seconds: float) -> None:
        """Return after this many seconds, or once the work has to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._set.wait(), seconds)


class SingleTask(Generic[T]):
    """A task that runs at most once at a time: starting it again returns the running one.

    It goes on when its caller is cancelled. Belongs to one event loop.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        by_service: bool = False,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """With `by_service`, `work` runs as the service itself, so that it goes on when the
        caller's token has ended; else it runs as its caller. `on_failure` receives the exception
        of `work`, because the caller may be gone."""
        self.stopping = StopSignal()
        """`work` checks this between its steps."""
        self._name = name
        self._work = work
        self._by_service = by_service
        self._on_failure = on_failure
        self._task: asyncio.Task[T] | None = None

    def is_running(self) -> bool:
        """Whether the work is running."""
        return self._task is not None and not self._task.done()

    def start(self) -> "asyncio.Task[T]":
        """The running task, or a new one."""
        if self._task is None or self._task.done():
            with acting_as(SYSTEM) if self._by_service else contextlib.nullcontext():
                self._task = asyncio.create_task(self._work(), name=self._name)
            self._task.add_done_callback(self._ended)
        return self._task

    async def run_for(self, seconds: float) -> "asyncio.Task[T]":
        """Start the task unless it runs, wait up to this many seconds for its end, and return it.
        Raises what `work` raised by then."""
        task = self.start()
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            task.result()
        return task

    async def stop(self) -> None:
        """Tell the work to stop, and wait for its end."""
        self.stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _ended(self, task: "asyncio.Task[T]") -> None:
        if self._on_failure is not None and not task.cancelled():
            error = task.exception()
            if error is not None:
                self._on_failure(error)
