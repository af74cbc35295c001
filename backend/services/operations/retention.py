"""Keeping data as long as the limits say: what is beyond them, and its removal step by step.

Each step is a unit of work of its own, so that other writes come between. An unfinished run is
never beyond a limit.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from backend.repositories.retention_repository import (
    DELIVERIES,
    LOGS,
    OWN_LOGS,
    Cutoff,
    Kept,
    RetentionRepository,
)
from backend.schemas.retention import Limit, Removable, RetentionLimits, RetentionPlan
from backend.services.base import UseCases, unit_of_work
from database.base import time_text

RemoveSome = Callable[[int], Awaitable[int]]
"""Removes up to so many rows; how many they were, 0 when there are no more."""

_LOG_OVERHEAD = 220
"""Bytes that a log takes beside its texts and their index; measured."""
_DELIVERY_OVERHEAD = 300
_LOG_FACTOR = 1.4
"""A log's words are in the full-text index as well."""
_COUNTED_RUNS = 500
"""Runs that one statement looks at."""


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Up to where data goes, as it was when a removal began."""

    logs: Cutoff | None
    own_logs: Cutoff | None
    deliveries: Cutoff | None
    runs_before: str | None
    """Runs that ended before this time go."""
    runs_kept: int | None
    """So many runs of each project stay."""


@dataclass(frozen=True, slots=True)
class RemovalPhase:
    """One kind of data and how it is removed, step by step."""

    kind: str
    remove: RemoveSome
    first: int
    """How many rows the first step takes; later ones as many as take a moment."""
    most: int


class Retention(UseCases):
    """Showing what is beyond the limits, and removing it."""

    @unit_of_work(read_only=True)
    async def plan(self, limits: RetentionLimits) -> RetentionPlan:
        """What is beyond the limits now, counted, and measured by a sample. Logs of what is gone
        still count among the newest."""
        async with self.transaction() as repositories:
            cutoffs = await self._cutoffs(repositories.retention, limits)
            return await _plan(repositories.retention, cutoffs)

    @unit_of_work
    async def record_prune(self) -> None:
        """Tell in the audit that somebody asked for a removal; for those that the service begins
        by itself, the limits are reason enough."""
        async with self.transaction() as repositories:
            await self.kit.audit.record(
                repositories, "retention.applied", target="retention/limits"
            )

    @unit_of_work(read_only=True)
    async def removal(self, limits: RetentionLimits) -> list[RemovalPhase]:
        """The phases of the removal of what is beyond the limits now, in their order."""
        async with self.transaction() as repositories:
            cutoffs = await self._cutoffs(repositories.retention, limits)
        return self._phases(cutoffs)

    def orphaned_logs(self) -> RemovalPhase:
        """The removal of the logs of projects and runs that are gone, whatever the limits. It
        comes first, so that they do not count as logs that stay."""
        return RemovalPhase("logs", self.remove_orphaned_logs, 500, 2000)

    def _phases(self, cutoffs: Cutoffs) -> list[RemovalPhase]:
        phases: list[RemovalPhase] = []
        if cutoffs.deliveries is not None:
            remove = partial(self.remove_deliveries, cutoffs.deliveries)
            phases.append(RemovalPhase("deliveries", remove, 20, 500))
        if cutoffs.runs_before is not None:
            phases.append(
                RemovalPhase("runs", partial(self.remove_runs_before, cutoffs.runs_before), 5, 200)
            )
        if cutoffs.runs_kept is not None:
            phases.append(
                RemovalPhase("runs", partial(self.remove_runs_beyond, cutoffs.runs_kept), 5, 200)
            )
        if cutoffs.runs_before is not None or cutoffs.runs_kept is not None:
            phases.append(self.orphaned_logs())
        if cutoffs.logs is not None:
            phases.append(
                RemovalPhase("logs", partial(self.remove_logs, LOGS, cutoffs.logs), 500, 2000)
            )
        if cutoffs.own_logs is not None:
            remove = partial(self.remove_logs, OWN_LOGS, cutoffs.own_logs)
            phases.append(RemovalPhase("own_logs", remove, 500, 2000))
        return phases

    async def _cutoffs(self, data: RetentionRepository, limits: RetentionLimits) -> Cutoffs:
        return Cutoffs(
            logs=await self._cutoff(data, LOGS, limits.logs),
            own_logs=await self._cutoff(data, OWN_LOGS, limits.own_logs),
            deliveries=await self._cutoff(data, DELIVERIES, limits.deliveries),
            runs_before=self._days_ago(limits.runs.days),
            runs_kept=limits.runs.newest,
        )

    async def _cutoff(self, data: RetentionRepository, kept: Kept, limit: Limit) -> Cutoff | None:
        return await data.cutoff(
            kept,
            before=self._days_ago(limit.days),
            newest=limit.newest,
            now=time_text(self.clock()),
        )

    def _days_ago(self, days: int | None) -> str | None:
        return time_text(self.clock() - timedelta(days=days)) if days is not None else None

    @unit_of_work
    async def remove_logs(self, kept: Kept, cutoff: Cutoff, limit: int) -> int:
        """Remove up to `limit` of the logs that go at `cutoff`, the oldest first; how many."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.ids_until(kept, cutoff, limit)
            return await repositories.logs.remove(ids)

    @unit_of_work
    async def remove_orphaned_logs(self, limit: int) -> int:
        """Remove up to `limit` logs of projects and runs that are gone; how many they were. 0 is
        the answer only when there are none of them any more."""
        async with self.transaction() as repositories:
            removed = 0
            while removed < limit:
                removal = await repositories.logs.next_removal()
                if removal is None:
                    break
                removed += await repositories.logs.remove_of(removal, limit - removed)
            return removed

    @unit_of_work
    async def remove_deliveries(self, cutoff: Cutoff, limit: int) -> int:
        """Remove up to `limit` of the deliveries that go at `cutoff`, the oldest first; how many
        they were."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.ids_until(DELIVERIES, cutoff, limit)
            return await repositories.retention.remove_deliveries(ids) if ids else 0

    @unit_of_work
    async def remove_runs_before(self, time: str, limit: int) -> int:
        """Remove up to `limit` runs that ended before `time`; how many they were."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.runs_finished_before(time, limit)
            return await repositories.retention.remove_finished_runs(ids) if ids else 0

    @unit_of_work
    async def remove_runs_beyond(self, kept: int, limit: int) -> int:
        """Remove up to `limit` finished runs that are not among the newest `kept` of their
        project; how many they were."""
        async with self.transaction() as repositories:
            for project_id in await repositories.retention.projects_with_more_runs(kept):
                ids = await repositories.retention.finished_runs_beyond(project_id, kept, limit)
                if ids:
                    return await repositories.retention.remove_finished_runs(ids)
            return 0

    @unit_of_work
    async def tidy_log_index(self, *, begin: bool) -> bool:
        """Put a part of the full-text index together anew; whether more is to be done. What
        removed logs leave in it is freed on the way."""
        async with self.transaction() as repositories:
            return await repositories.logs.tidy_index(begin=begin)

    async def most_logs(self) -> int:
        """A number that there are no more logs than, close to how many there are."""
        return await self.repositories.retention.span("system_logs")


async def _plan(data: RetentionRepository, cutoffs: Cutoffs) -> RetentionPlan:
    runs = await _runs_beyond(data, cutoffs)
    logs = await data.extent(LOGS, cutoffs.logs)
    own_logs = await data.extent(OWN_LOGS, cutoffs.own_logs)
    more = await data.count_orphaned_logs(cutoffs.logs)
    characters = 0
    for start in range(0, len(runs), _COUNTED_RUNS):
        some = runs[start : start + _COUNTED_RUNS]
        more += await data.count_logs_of_runs(some, cutoffs.logs)
        characters += await data.characters_of_runs(some)
    deliveries = await data.extent(DELIVERIES, cutoffs.deliveries)
    return RetentionPlan(
        logs=_removable_logs(logs.rows + more, logs.characters),
        own_logs=_removable_logs(own_logs.rows, own_logs.characters),
        runs=Removable(rows=len(runs), bytes=characters),
        deliveries=Removable(
            rows=deliveries.rows,
            bytes=round(deliveries.rows * (_DELIVERY_OVERHEAD + deliveries.characters)),
        ),
    )


def _removable_logs(rows: int, characters: float) -> Removable:
    return Removable(rows=rows, bytes=round(rows * (_LOG_OVERHEAD + _LOG_FACTOR * characters)))


async def _runs_beyond(data: RetentionRepository, cutoffs: Cutoffs) -> list[int]:
    """The ids of all runs that are beyond one of the limits."""
    everything = 2**62
    found: set[int] = set()
    if cutoffs.runs_before is not None:
        found.update(await data.runs_finished_before(cutoffs.runs_before, everything))
    if cutoffs.runs_kept is not None:
        for project_id in await data.projects_with_more_runs(cutoffs.runs_kept):
            found.update(await data.finished_runs_beyond(project_id, cutoffs.runs_kept, everything))
    return sorted(found)
