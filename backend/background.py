"""Work that the service does by itself, between requests."""

import asyncio
from collections.abc import Awaitable, Callable

from backend.log import get_logger

logger = get_logger("strongroom.background")


class BackgroundWork:
    """Jobs that run again and again until `stop`, each in a task of its own.

    A job that fails is logged, and runs again when its time comes.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, name: str, job: Callable[[], Awaitable[object]]) -> None:
        """Run `job` now, and again `seconds` after each time it has ended."""
        self._tasks.append(asyncio.create_task(self._repeat(seconds, name, job), name=name))

    async def stop(self) -> None:
        """Begin no job any more, and wait for those that run."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called; long jobs look here between their steps."""
        return self._stopping.is_set()

    async def _repeat(
        self, seconds: float, name: str, job: Callable[[], Awaitable[object]]
    ) -> None:
        while not self._stopping.is_set():
            try:
                await job()
            except Exception:
                logger.exception("background work failed", job=name)
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                continue
