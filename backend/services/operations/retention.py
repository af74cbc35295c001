"""Retention: finding the data beyond the limits, and removing it step by step.

Each step is a unit of work of its own, so that other writes run in between. Unfinished runs are
never removed.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from backend.repositories.retention_repository import (
    ANSWERS,
    DELIVERIES,
    LOGS,
    OWN_LOGS,
    Cutoff,
    Extent,
    Kept,
    RetentionRepository,
)
from backend.schemas.retention import Limit, Removable, RetentionLimits, RetentionPlan
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.idempotency.idempotency import KEPT_FOR
from backend.services.kinds import Kind
from backend.services.operations.audit_retention import AuditRetention, SupersededEntries
from backend.services.operations.version_retention import VersionRetention
from database.base import time_text

RemoveSome = Callable[[int], Awaitable[int | None]]
"""Removes up to the given number of rows. Returns how many were removed, 0 when none is left, and
`None` when it removed none, but may remove some when called again."""

_LOG_OVERHEAD = 220
"""Bytes that a log takes besides its texts and their index; measured."""
_DELIVERY_OVERHEAD = 300
_ANSWER_OVERHEAD = 150
_ROW_OVERHEAD = 300
"""The same for a row of the other kinds."""
_LOG_FACTOR = 1.4
"""Bytes for each character of a log; more than 1 because of the full-text index."""
_COUNTED_RUNS = 500
"""The number of runs in one counting statement."""


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The cutoffs of a removal, fixed when it begins. `None` keeps everything of a kind."""

    logs: Cutoff | None
    own_logs: Cutoff | None
    deliveries: Cutoff | None
    answers: Cutoff | None
    """Stored answers up to this one are not repeated any more."""
    runs_before: str | None
    """Runs that ended before this time are removed."""
    runs_kept: int | None
    """The number of runs of each project that stay."""
    configurations_kept: int | None
    """The number of versions of each configuration that stay."""
    secrets_kept: int | None
    """The same for each secret."""
    deleted_before: str | None
    """The values of secrets that were deleted before this time are destroyed."""
    audit_before: str | None
    """Entries of the audit from before this time are removed."""


@dataclass(frozen=True, slots=True)
class RemovalPhase:
    """One kind of data and how it is removed, step by step."""

    kind: str
    remove: RemoveSome
    first: int
    """The number of rows of the first step. Later steps adapt to the time that a step takes."""
    most: int


class Retention(UseCases):
    """Counting the data beyond the limits, and removing it."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._audit = AuditRetention(kit)
        self._versions = VersionRetention(kit)

    async def plan(self, limits: RetentionLimits) -> RetentionPlan:
        """The data beyond the limits now: rows are counted, sizes estimated from a sample. Logs of
        removed projects and runs still count among the newest."""
        counted = {
            "audit": await self._audit.extent(self._days_ago(limits.audit.days)),
            **await self._versions.extents(limits, self._days_ago(limits.deleted_secrets.days)),
        }
        return await self._plan(limits, counted)

    @unit_of_work(read_only=True)
    async def _plan(self, limits: RetentionLimits, counted: Mapping[str, Extent]) -> RetentionPlan:
        async with self.transaction() as repositories:
            cutoffs = await self._cutoffs(repositories.retention, limits)
            return await _plan(repositories.retention, cutoffs, counted)

    @unit_of_work
    async def record_prune(self) -> None:
        """Record in the audit that a client requested a removal. Removals that the service starts
        itself are not recorded."""
        async with self.transaction() as repositories:
            await self.kit.audit.record(
                repositories, Kind.RETENTION_APPLIED, target="retention/limits"
            )

    @unit_of_work(read_only=True)
    async def removal(self, limits: RetentionLimits) -> list[RemovalPhase]:
        """The phases that remove the data beyond the limits now, in their order."""
        async with self.transaction() as repositories:
            cutoffs = await self._cutoffs(repositories.retention, limits)
        return self._phases(cutoffs)

    def orphaned_logs(self) -> RemovalPhase:
        """The phase that removes the logs of removed projects and runs, regardless of the limits.
        It comes first, so that these logs do not count among those that stay."""
        return RemovalPhase("logs", self.remove_orphaned_logs, 500, 2000)

    def _phases(self, cutoffs: Cutoffs) -> list[RemovalPhase]:
        phases: list[RemovalPhase] = []
        remove: RemoveSome
        if cutoffs.answers is not None:
            remove = partial(self.remove_answers, cutoffs.answers)
            phases.append(RemovalPhase("answers", remove, 50, 1000))
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
        phases += self._phases_of_versions(cutoffs)
        # Last, because damage ends it with an error.
        if cutoffs.audit_before is not None:
            remove = partial(self._audit.pass_old, cutoffs.audit_before)
            phases.append(RemovalPhase("audit", remove, 100, 1000))
            remove = SupersededEntries(self._audit).remove
            phases.append(RemovalPhase("audit", remove, 100, 1000))
        return phases

    def _phases_of_versions(self, cutoffs: Cutoffs) -> list[RemovalPhase]:
        phases: list[RemovalPhase] = []
        # After runs, which may have referred to versions.
        if cutoffs.configurations_kept is not None:
            beyond = self._versions.configurations_beyond(cutoffs.configurations_kept)
            phases.append(RemovalPhase("configuration_versions", beyond.remove, 20, 500))
        if cutoffs.secrets_kept is not None:
            beyond = self._versions.secrets_beyond(cutoffs.secrets_kept)
            phases.append(RemovalPhase("secret_versions", beyond.remove, 100, 1000))
        if cutoffs.deleted_before is not None:
            destroy = partial(self._versions.destroy_deleted, cutoffs.deleted_before)
            phases.append(RemovalPhase("deleted_secrets", destroy, 10, 100))
        return phases

    async def _cutoffs(self, data: RetentionRepository, limits: RetentionLimits) -> Cutoffs:
        return Cutoffs(
            logs=await self._cutoff(data, LOGS, limits.logs),
            own_logs=await self._cutoff(data, OWN_LOGS, limits.own_logs),
            deliveries=await self._cutoff(data, DELIVERIES, limits.deliveries),
            answers=await data.cutoff(
                ANSWERS,
                before=time_text(self.clock() - KEPT_FOR),
                newest=None,
                now=time_text(self.clock()),
            ),
            runs_before=self._days_ago(limits.runs.days),
            runs_kept=limits.runs.newest,
            configurations_kept=limits.configuration_versions.newest,
            secrets_kept=limits.secret_versions.newest,
            deleted_before=self._days_ago(limits.deleted_secrets.days),
            audit_before=self._days_ago(limits.audit.days),
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
        """Remove at most `limit` logs up to `cutoff`, oldest first. Returns their number."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.ids_until(kept, cutoff, limit)
            return await repositories.logs.remove(ids)

    @unit_of_work
    async def remove_orphaned_logs(self, limit: int) -> int:
        """Remove up to `limit` logs of removed projects and runs. Returns their number, 0 only
        when none is left."""
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
        """Remove at most `limit` deliveries up to `cutoff`, oldest first. Returns their number."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.ids_until(DELIVERIES, cutoff, limit)
            return await repositories.retention.remove_deliveries(ids) if ids else 0

    @unit_of_work
    async def remove_answers(self, cutoff: Cutoff, limit: int) -> int:
        """Remove at most `limit` stored answers up to `cutoff`, oldest first. Returns their
        number."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.ids_until(ANSWERS, cutoff, limit)
            return await repositories.answers.remove(ids) if ids else 0

    @unit_of_work
    async def remove_runs_before(self, time: str, limit: int) -> int:
        """Remove up to `limit` runs that ended before `time`. Returns their number."""
        async with self.transaction() as repositories:
            ids = await repositories.retention.runs_finished_before(time, limit)
            return await repositories.retention.remove_finished_runs(ids) if ids else 0

    @unit_of_work
    async def remove_runs_beyond(self, kept: int, limit: int) -> int:
        """Remove up to `limit` finished runs that are not among the newest `kept` of their
        project. Returns their number."""
        async with self.transaction() as repositories:
            for project_id in await repositories.retention.projects_with_more_runs(kept):
                ids = await repositories.retention.finished_runs_beyond(project_id, kept, limit)
                if ids:
                    return await repositories.retention.remove_finished_runs(ids)
            return 0

    @unit_of_work
    async def tidy_log_index(self, *, begin: bool) -> bool:
        """Rebuild a part of the full-text index. Returns whether more parts are left. This frees
        the space that removed logs take in the index."""
        async with self.transaction() as repositories:
            return await repositories.logs.tidy_index(begin=begin)

    async def most_logs(self) -> int:
        """An upper bound on the number of logs, close to their number."""
        return await self.repositories.retention.span("system_logs")


async def _plan(
    data: RetentionRepository, cutoffs: Cutoffs, counted: Mapping[str, Extent]
) -> RetentionPlan:
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
    answers = await data.extent(ANSWERS, cutoffs.answers)
    return RetentionPlan(
        logs=_removable_logs(logs.rows + more, logs.characters),
        own_logs=_removable_logs(own_logs.rows, own_logs.characters),
        runs=Removable(rows=len(runs), bytes=characters),
        deliveries=Removable(
            rows=deliveries.rows,
            bytes=round(deliveries.rows * (_DELIVERY_OVERHEAD + deliveries.characters)),
        ),
        answers=Removable(
            rows=answers.rows, bytes=round(answers.rows * (_ANSWER_OVERHEAD + answers.characters))
        ),
        **{name: _removable(extent) for name, extent in counted.items()},
    )


def _removable(extent: Extent) -> Removable:
    size = round(extent.rows * (_ROW_OVERHEAD + extent.characters))
    return Removable(rows=extent.rows, bytes=size)


def _removable_logs(rows: int, characters: float) -> Removable:
    return Removable(rows=rows, bytes=round(rows * (_LOG_OVERHEAD + _LOG_FACTOR * characters)))


async def _runs_beyond(data: RetentionRepository, cutoffs: Cutoffs) -> list[int]:
    """The ids of all runs beyond either limit."""
    everything = 2**62
    found: set[int] = set()
    if cutoffs.runs_before is not None:
        found.update(await data.runs_finished_before(cutoffs.runs_before, everything))
    if cutoffs.runs_kept is not None:
        for project_id in await data.projects_with_more_runs(cutoffs.runs_kept):
            found.update(await data.finished_runs_beyond(project_id, cutoffs.runs_kept, everything))
    return sorted(found)
