"""Removal of old data in a background task, one removal at a time."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from backend.schemas.retention import (
    PruneProgress,
    Removed,
    RetentionLimits,
    RetentionPlan,
    RetentionStatus,
)
from backend.services.operations.retention import RemovalPhase
from backend.services.single_task import SingleTask
from database.base import Clock, time_text
from database.errors import DatabaseBusy, DatabaseFull

logger = logging.getLogger("strongroom.retention")

STEP_SECONDS: Final = 0.02
"""About how long a step may take, because other writes wait for it."""
ANSWER_SECONDS = 1.0
"""How long a request for a removal waits for its end."""
RETRY_SECONDS: Final = 5.0
"""The wait before a removal is tried again after a full disk."""
_WORTH_TIDYING: Final = 10_000
"""Fewer removed logs leave too little in the full-text index to rebuild it."""
_TIDY_SHARE: Final = 3
"""The index is rebuilt once a third of all logs has been removed since the last rebuild. Not
later, because a step takes longer the more removed logs it reads."""

OnRemoved = Callable[[Removed], None]


class Removals(Protocol):
    """What to remove and how. `Retention` implements it."""

    @property
    def clock(self) -> Clock: ...
    def orphaned_logs(self) -> RemovalPhase: ...
    async def record_prune(self) -> None: ...
    async def plan(self, limits: RetentionLimits) -> RetentionPlan: ...
    async def removal(self, limits: RetentionLimits) -> list[RemovalPhase]: ...
    async def most_logs(self) -> int: ...
    async def tidy_log_index(self, *, begin: bool) -> bool: ...


class Pace:
    """Chooses the number of rows of a step by how long the last step took."""

    def __init__(self, first: int, most: int) -> None:
        self.rows = first
        self._most = most

    def took(self, seconds: float) -> None:
        """Set the number of rows by the duration of the last step."""
        if seconds > STEP_SECONDS * 1.5:
            self.rows = max(1, self.rows // 2)
        elif seconds < STEP_SECONDS / 2:
            self.rows = min(self._most, self.rows * 2)


class Pruner:
    """Removes data beyond the limits. Belongs to one event loop.

    With `considerate` it rests after each step for as long as the step took, so that the writer
    is free for others half of the time, and logs a failure.
    """

    def __init__(
        self,
        removals: Removals,
        limits: RetentionLimits,
        *,
        considerate: bool = True,
        on_removed: OnRemoved = lambda _: None,
    ) -> None:
        self.limits = limits
        self.progress: PruneProgress | None = None
        """The progress of the newest removal; `None` before the first."""
        self._removals = removals
        self._considerate = considerate
        self._on_removed = on_removed
        # A command awaits the removal, and tells its failure itself.
        on_failure = _log_failure if considerate else None
        self._task = SingleTask("pruning", self._prune, by_service=True, on_failure=on_failure)
        self._stopping = self._task.stopping
        self._untidy = 0

    async def status(self) -> RetentionStatus:
        """The limits, what exceeds them now, and the progress of the latest removal."""
        plan = await self._removals.plan(self.limits)
        return RetentionStatus(limits=self.limits, would_remove=plan, prune=self.progress)

    async def prune(self) -> PruneProgress:
        """Start a removal on request unless one runs, wait up to `ANSWER_SECONDS` for its end, and
        return its progress. Raises the error that interrupted it, and `DatabaseError`."""
        await self._removals.record_prune()
        await self._task.run_for(ANSWER_SECONDS)
        progress = self.progress
        assert progress is not None  # noqa: S101 - it has begun
        return progress

    async def wake(self) -> None:
        """Run a removal to its end, joining one that runs. A failure is logged. After a full disk,
        it is repeated until there is space."""
        while not self._stopping.is_set():
            removal = self.start()
            await asyncio.wait({removal})
            if removal.cancelled() or not isinstance(removal.exception(), DatabaseFull):
                return
            await self._stopping.rest(RETRY_SECONDS)

    def start(self) -> "asyncio.Task[Removed]":
        """The task of the running removal, or of a new one. It raises `DatabaseError`; rows that
        it removed before stay removed."""
        return self._task.start()

    async def stop(self) -> None:
        """Stop between two steps; a later removal continues."""
        await self._task.stop()

    async def _prune(self) -> Removed:
        removed = Removed()
        progress = self.progress = PruneProgress(
            status="running", removed=removed, started_at=self._now(), finished_at=None
        )
        try:
            await self._remove(self._removals.orphaned_logs(), removed)
            for phase in await self._removals.removal(self.limits):
                await self._remove(phase, removed)
            if not self._stopping.is_set():
                progress.status = "completed"
        finally:
            if progress.status == "running":
                progress.status = "interrupted"
            progress.finished_at = self._now()
        if removed != Removed():
            logger.info("old data removed: %s", removed)
        return removed

    async def _remove(self, phase: RemovalPhase, removed: Removed) -> None:
        pace = Pace(phase.first, phase.most)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                count = await phase.remove(pace.rows)
            except DatabaseBusy as error:
                # Requests come first.
                await self._stopping.rest(error.retry_after)
                continue
            if count == 0:
                return
            if count is not None:
                setattr(removed, phase.kind, getattr(removed, phase.kind) + count)
                self._on_removed(removed)
            await self._after_step(began, pace)
            if count is not None and phase.kind in ("logs", "own_logs"):
                self._untidy += count
                if await self._is_untidy():
                    await self.tidy()

    async def _is_untidy(self) -> bool:
        if self._untidy < _WORTH_TIDYING:
            return False
        left = await self._removals.most_logs()
        return self._untidy * _TIDY_SHARE >= left + self._untidy

    async def tidy(self) -> None:
        """Rebuild the full-text index of logs, step by step."""
        begin = more = True
        while more and not self._stopping.is_set():
            began = time.monotonic()
            try:
                more = await self._removals.tidy_log_index(begin=begin)
            except DatabaseBusy as error:
                await self._stopping.rest(error.retry_after)
                continue
            begin = False
            await self._after_step(began)
        if not more:
            self._untidy = 0

    async def _after_step(self, began: float, pace: Pace | None = None) -> None:
        seconds = time.monotonic() - began
        if pace is not None:
            pace.took(seconds)
        if self._considerate:
            await self._stopping.rest(seconds)

    def _now(self) -> str:
        return time_text(self._removals.clock())


def _log_failure(error: BaseException) -> None:
    logger.error("the removal of old data failed: %s: %s", type(error).__name__, error)
