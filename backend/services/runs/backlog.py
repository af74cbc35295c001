"""The number of pending and running runs, and of rows to index, for metrics."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.single_task import SingleTask
from database.errors import DatabaseError
from models import utc_datetime

_PATIENCE: Final = 0.2
"""Seconds to wait for a reading. A later result serves the next call."""
_GOOD_FOR: Final = 60.0
"""Seconds after which a reading is too old to report."""


@dataclass(frozen=True, slots=True)
class RunBacklog:
    """The runs that wait for a worker, and the runs that a worker has."""

    pending: int
    oldest_pending_at: str | None
    """When the oldest pending run was created."""
    leased: int
    projects_to_index: int
    runs_to_index: int
    """Upper bounds on the rows that searches don't find by an index yet."""

    def oldest_pending_seconds(self, now: datetime) -> float:
        """How long the oldest pending run has waited; 0 without one, or without a readable time."""
        at = utc_datetime(self.oldest_pending_at) if self.oldest_pending_at is not None else None
        return max(0.0, (now - at).total_seconds()) if at is not None else 0.0


class Backlog(UseCases):
    """Reading the backlog without waiting for a busy database."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._reading = SingleTask("backlog", self._read)
        self._last: tuple[float, RunBacklog] | None = None

    async def read(self) -> RunBacklog | None:
        """The current backlog, or the last reading while the database is busy; `None` when that is
        older than a minute. Never raises a `DatabaseError`."""
        await self._reading.run_for(_PATIENCE)
        if self._last is None:
            return None
        at, backlog = self._last
        return backlog if asyncio.get_running_loop().time() - at <= _GOOD_FOR else None

    async def _read(self) -> None:
        try:
            backlog = await self._read_backlog()
        except DatabaseError:
            return
        self._last = asyncio.get_running_loop().time(), backlog

    @unit_of_work(read_only=True, urgent=True)
    async def _read_backlog(self) -> RunBacklog:
        async with self.transaction() as repositories:
            pending, oldest_id = await repositories.run_queues.waiting()
            return RunBacklog(
                pending,
                await repositories.runs.created_at(oldest_id) if oldest_id is not None else None,
                await repositories.runs.leased(),
                (await repositories.project_index.state()).left,
                (await repositories.run_index.state()).left,
            )
