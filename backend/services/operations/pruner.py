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
from backend.services.operations.retention import Part
from backend.services.principal import SYSTEM, acting_as
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
    def noted_logs(self) -> Part: ...
    async def record_prune(self) -> None: ...
    async def plan(self, limits: RetentionLimits) -> RetentionPlan: ...
    async def removal(self, limits: RetentionLimits) -> list[Part]: ...
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
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[Removed] | None = None
        self._untidy = 0

    async def status(self) -> RetentionStatus:
        """The limits, what exceeds them now, and the progress of the latest removal."""
        plan = await self._removals.plan(self.limits)
        return RetentionStatus(limits=self.limits, would_remove=plan, prune=self.progress)

    async def prune(self) -> PruneProgress:
        """How far a removal is that somebody asks for: at its end, or after a moment if it takes
        longer, and then its status is `running`. Raises what broke it off, and `DatabaseError`."""
        await self._removals.record_prune()
        removal = self.start()
        await asyncio.wait({removal}, timeout=ANSWER_SECONDS)
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
            await self._rest(RETRY_SECONDS)

    def start(self) -> "asyncio.Task[Removed]":
        """The task of the removal that runs, or of one that begins now. It raises `DatabaseError`;
        what it removed until then stays removed."""
        if self._task is None or self._task.done():
            # It goes on when the token of the request that asked for it has ended.
            with acting_as(SYSTEM):
                self._task = asyncio.create_task(self._prune(), name="pruning")
            self._task.add_done_callback(_log_failure)
        return self._task

    async def stop(self) -> None:
        """Stop between two steps; a later removal goes on."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _prune(self) -> Removed:
        removed = Removed()
        progress = self.progress = PruneProgress(
            status="running", removed=removed, started_at=self._now(), finished_at=None
        )
        try:
            await self._remove(self._removals.noted_logs(), removed)
            for part in await self._removals.removal(self.limits):
                await self._remove(part, removed)
            if not self._stopping.is_set():
                progress.status = "completed"
        finally:
            if progress.status == "running":
                progress.status = "interrupted"
            progress.finished_at = self._now()
        if removed != Removed():
            logger.info("old data removed: %s", removed)
        return removed

    async def _remove(self, part: Part, removed: Removed) -> None:
        pace = Pace(part.first, part.most)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                count = await part.remove(pace.rows)
            except DatabaseBusy as error:
                # Others come first.
                await self._rest(error.retry_after)
                continue
            if count == 0:
                return
            setattr(removed, part.kind, getattr(removed, part.kind) + count)
            self._on_removed(removed)
            await self._after_step(began, pace)
            if part.kind in ("logs", "own_logs"):
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
                await self._rest(error.retry_after)
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
            await self._rest(seconds)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _now(self) -> str:
        return time_text(self._removals.clock())


def _log_failure(task: "asyncio.Task[Removed]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the removal of old data failed: %s: %s", type(error).__name__, error)
