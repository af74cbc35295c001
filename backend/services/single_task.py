"""Work beside the requests: one piece at a time, which can be told to stop."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from backend.services.principal import SYSTEM, acting_as

T = TypeVar("T")


class StopSignal:
    """Tells work that goes on by itself to stop between two steps."""

    def __init__(self) -> None:
        self._set = asyncio.Event()

    def is_set(self) -> bool:
        """Whether the work has to stop."""
        return self._set.is_set()

    def set(self) -> None:
        """Tell the work to stop; whatever rests wakes up."""
        self._set.set()

    async def rest(self, seconds: float) -> None:
        """Return after so many seconds, or once the work has to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._set.wait(), seconds)


class SingleTask(Generic[T]):
    """A task that runs at most once at a time: who starts it meanwhile gets the one that runs.

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
        """`work` is done as the service itself if it is `by_service`, and so goes on when the token
        of the request that asked for it has ended; else as its caller. `on_failure` is told what
        it raised, as the caller may be gone."""
        self.stopping = StopSignal()
        """For `work` to look at between its steps."""
        self._name = name
        self._work = work
        self._by_service = by_service
        self._on_failure = on_failure
        self._task: asyncio.Task[T] | None = None

    def is_running(self) -> bool:
        """Whether the work is being done."""
        return self._task is not None and not self._task.done()

    def start(self) -> "asyncio.Task[T]":
        """The task that runs, or one that begins now."""
        if self._task is None or self._task.done():
            with acting_as(SYSTEM) if self._by_service else contextlib.nullcontext():
                self._task = asyncio.create_task(self._work(), name=self._name)
            self._task.add_done_callback(self._ended)
        return self._task

    async def run_for(self, seconds: float) -> "asyncio.Task[T]":
        """The task that runs, or one that begins now: at its end, or after so many seconds if it
        takes longer."""
        task = self.start()
        await asyncio.wait({task}, timeout=seconds)
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
