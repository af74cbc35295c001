"""Jobs that the service runs in the background, besides requests."""

import asyncio
from collections.abc import Awaitable, Callable

from backend.observability.log import get_logger
from backend.services.single_task import StopSignal

logger = get_logger("strongroom.background")

RETRY_SECONDS = 5.0
"""The longest pause before a failed job is tried again, even if it usually runs less often."""


class BackgroundWork:
    """Runs jobs repeatedly until `stop`, each in its own task.

    A failed job is logged, and runs again after its usual pause or after `RETRY_SECONDS`, whichever
    is shorter. Further failures with the same kind of error are not logged.
    """

    def __init__(self) -> None:
        self.first_pause = 0.0
        """Seconds before each job runs for the first time."""
        self._stopping = StopSignal()
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, name: str, job: Callable[[], Awaitable[object]]) -> None:
        """Run `job` now, or after the first pause, and again `seconds` after each run has ended."""
        self._tasks.append(asyncio.create_task(self._repeat(seconds, name, job), name=name))

    async def stop(self) -> None:
        """Start no more jobs, and wait for those that are running."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _repeat(
        self, seconds: float, name: str, job: Callable[[], Awaitable[object]]
    ) -> None:
        told: type[Exception] | None = None
        if self.first_pause:
            await self._stopping.rest(self.first_pause)
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
