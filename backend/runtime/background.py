"""Work that the service does by itself, between requests."""

import asyncio
from collections.abc import Awaitable, Callable

from backend.observability.log import get_logger
from backend.services.single_task import StopSignal

logger = get_logger("strongroom.background")

RETRY_SECONDS = 5.0
"""After how long a job that failed is tried again, however seldom it runs otherwise."""


class BackgroundWork:
    """Jobs that run again and again until `stop`, each in a task of its own.

    A job that fails is logged, and runs again when its time comes, or after `RETRY_SECONDS` if
    that is sooner: then without a line, as long as it fails in the same way.
    """

    def __init__(self) -> None:
        self._stopping = StopSignal()
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, name: str, job: Callable[[], Awaitable[object]]) -> None:
        """Run `job` now, and again `seconds` after each time it has ended."""
        self._tasks.append(asyncio.create_task(self._repeat(seconds, name, job), name=name))

    async def stop(self) -> None:
        """Begin no job any more, and wait for those that run."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _repeat(
        self, seconds: float, name: str, job: Callable[[], Awaitable[object]]
    ) -> None:
        told: type[Exception] | None = None
        while not self._stopping.is_set():
            pause = seconds
            try:
                await job()
                told = None
            except Exception as error:
                if type(error) is not told:
                    logger.exception("background work failed", job=name)
                told = type(error)
                pause = min(seconds, RETRY_SECONDS)
            await self._stopping.rest(pause)
