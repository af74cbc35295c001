"""Indexing the logs that an earlier version stored again, while the service runs.

Each step is a small unit of work of its own, which also stores how far it is. So the work goes on
after any interruption, and a search finds each log in one of the two indexes.
"""

import logging
import time
from typing import Final

from backend.repositories.log_index import Move
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.operations.pruner import Pace
from backend.services.single_task import SingleTask, StopSignal
from database.errors import DatabaseBusy, DatabaseError

logger = logging.getLogger("strongroom.logs")

RETRY_SECONDS: Final = 5.0
"""The wait before the work goes on after a full disk or another failure."""
_FIRST: Final = 50
_MOST: Final = 500
"""The number of logs of the first step, and the most of later ones."""
_WORTH_TIDYING: Final = 10_000
_TIDY_SHARE: Final = 3
"""The earlier index is rebuilt once a third of its logs has left it since the last time. A rebuild
reads what has left as well, so one at the end would take long steps."""


class LogIndexing(UseCases):
    """Moving logs from the index of an earlier version to the present one."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.progress: Move | None = None
        """How far the logs are moved, as `look` or the latest step has found it; `None` when none
        has to be moved."""

    async def look(self) -> None:
        """Read the progress. Raises `DatabaseError`."""
        self.progress = await self._progress()

    async def move(self, limit: int) -> int:
        """Move up to `limit` logs, newest first. Returns their number, 0 when none is left."""
        moved = await self._move(limit)
        await self.look()
        return moved

    @unit_of_work
    async def _move(self, limit: int) -> int:
        async with self.transaction() as repositories:
            return await repositories.logs.index.move(limit)

    @unit_of_work
    async def tidy(self, *, begin: bool) -> bool:
        """Rebuild a part of the earlier index. Returns whether more parts are left."""
        async with self.transaction() as repositories:
            return await repositories.logs.index.earlier.tidy(repositories.executor, begin=begin)

    @unit_of_work(read_only=True)
    async def _progress(self) -> Move | None:
        async with self.transaction() as repositories:
            return await repositories.logs.index.progress()


class LogIndexer:
    """Does the work of `LogIndexing` in a background task. Belongs to one event loop.

    It rests after each step for as long as the step took, so that the writer is free for others
    half of the time.
    """

    def __init__(self, indexing: LogIndexing) -> None:
        self._indexing = indexing
        self._task = SingleTask("words of logs", self._run, by_service=True)

    async def run(self) -> None:
        """Move all logs, or as many as until `stop`. Raises what the work raises."""
        if self._indexing.progress is not None:
            await self._task.start()

    async def stop(self) -> None:
        """Stop between two steps; a later `run` goes on."""
        await self._task.stop()

    @property
    def _stopping(self) -> StopSignal:
        return self._task.stopping

    async def _run(self) -> None:
        progress = self._indexing.progress
        moved = progress.done if progress is not None else 0
        if moved == 0:
            logger.info("the words of earlier logs are being indexed")
        pace = Pace(_FIRST, _MOST)
        told: type[DatabaseError] | None = None
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                count = await self._indexing.move(pace.rows)
                moved += count
                if count == 0:
                    logger.info("the words of all logs are indexed")
                    return
                await self._after_step(began, pace)
                if self._is_untidy(moved):
                    await self._tidy()
                    moved = 0
                told = None
            except DatabaseBusy as error:
                # Requests come first.
                await self._stopping.rest(error.retry_after)
            except DatabaseError as error:
                if type(error) is not told:
                    logger.warning("indexing logs was interrupted and will go on: %s", error)
                told = type(error)
                await self._stopping.rest(RETRY_SECONDS)

    def _is_untidy(self, moved: int) -> bool:
        progress = self._indexing.progress
        left = progress.left if progress is not None else 0
        return moved >= _WORTH_TIDYING and moved * _TIDY_SHARE >= left + moved

    async def _tidy(self) -> None:
        begin = more = True
        while more and not self._stopping.is_set():
            began = time.monotonic()
            more = await self._indexing.tidy(begin=begin)
            begin = False
            await self._after_step(began)

    async def _after_step(self, began: float, pace: Pace | None = None) -> None:
        seconds = time.monotonic() - began
        if pace is not None:
            pace.took(seconds)
        await self._stopping.rest(seconds)
