"""One removal of old data at a time, in a task beside the requests."""

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
"""About what a step may take: other writes wait so long, at most."""
ANSWER_SECONDS = 1.0
"""How long who asks for a removal waits for its end."""
RETRY_SECONDS: Final = 5.0
"""After how long a removal is tried again that met a full disk."""
_WORTH_TIDYING: Final = 10_000
"""Fewer removed logs leave nothing to speak of in the full-text index."""
_TIDY_SHARE: Final = 3
"""It is put together anew once this part of all logs, a third, is gone since the last time. Not
later, since a step of it takes the longer the more of what it reads is gone."""

OnRemoved = Callable[[Removed], None]


class Removals(Protocol):
    """What is to be removed and how: see `Retention`, which is what offers it."""

    @property
    def clock(self) -> Clock: ...
    def orphaned_logs(self) -> RemovalPhase: ...
    async def record_prune(self) -> None: ...
    async def plan(self, limits: RetentionLimits) -> RetentionPlan: ...
    async def removal(self, limits: RetentionLimits) -> list[RemovalPhase]: ...
    async def most_logs(self) -> int: ...
    async def tidy_log_index(self, *, begin: bool) -> bool: ...


class Pace:
    """How many rows a step takes, by how long the one before it took."""

    def __init__(self, first: int, most: int) -> None:
        self.rows = first
        self._most = most

    def took(self, seconds: float) -> None:
        """Tell how long the last step took."""
        if seconds > STEP_SECONDS * 1.5:
            self.rows = max(1, self.rows // 2)
        elif seconds < STEP_SECONDS / 2:
            self.rows = min(self._most, self.rows * 2)


class Pruner:
    """Removes what is beyond the limits. Belongs to one event loop.

    A considerate one rests after each step for as long as it took, which leaves the writer to
    others for half of the time.
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
        """The newest removal; `None` before the first."""
        self._removals = removals
        self._considerate = considerate
        self._on_removed = on_removed
        self._task = SingleTask("pruning", self._prune, by_service=True, on_failure=_log_failure)
        self._stopping = self._task.stopping
        self._untidy = 0

    async def status(self) -> RetentionStatus:
        """The limits, what exceeds them now, and the progress of the latest removal."""
        plan = await self._removals.plan(self.limits)
        return RetentionStatus(limits=self.limits, would_remove=plan, prune=self.progress)

    async def prune(self) -> PruneProgress:
        """How far a removal is that somebody asks for: at its end, or after a moment if it takes
        longer, and then its status is `running`. Raises what broke it off, and `DatabaseError`."""
        await self._removals.record_prune()
        removal = await self._task.run_for(ANSWER_SECONDS)
        if removal.done():
            removal.result()
        progress = self.progress
        assert progress is not None  # noqa: S101 - it has begun
        return progress

    async def wake(self) -> None:
        """Run a removal to its end, or the one that runs; a failure is logged. One that met a full
        disk is begun again and again until there is room."""
        while not self._stopping.is_set():
            removal = self.start()
            await asyncio.wait({removal})
            if removal.cancelled() or not isinstance(removal.exception(), DatabaseFull):
                return
            await self._stopping.rest(RETRY_SECONDS)

    def start(self) -> "asyncio.Task[Removed]":
        """The task of the removal that runs, or of one that begins now. It raises `DatabaseError`;
        what it removed until then stays removed."""
        return self._task.start()

    async def stop(self) -> None:
        """Stop between two steps; a later removal goes on."""
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
                # Others come first.
                await self._stopping.rest(error.retry_after)
                continue
            if count == 0:
                return
            setattr(removed, phase.kind, getattr(removed, phase.kind) + count)
            self._on_removed(removed)
            await self._after_step(began, pace)
            if phase.kind in ("logs", "own_logs"):
                self._untidy += count
                if await self._is_untidy():
                    await self.tidy()

    async def _is_untidy(self) -> bool:
        if self._untidy < _WORTH_TIDYING:
            return False
        left = await self._removals.most_logs()
        return self._untidy * _TIDY_SHARE >= left + self._untidy

    async def tidy(self) -> None:
        """Put the full-text index of logs together anew, step by step."""
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
