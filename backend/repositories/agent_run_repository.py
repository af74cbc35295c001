"""Agent runs: pages, conditional transitions between statuses, and leases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from backend.repositories.paging import (
    JsonPage,
    Page,
    Position,
    Query,
    fetch_json,
    fetch_page,
    is_one_of,
    json_members,
)
from database.base import BaseRepository, Clock, Sql, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Value
from database.portable_sql import unindexed
from models import AgentRun, RunStatus, RunType


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filters of a list of runs."""

    project_ids: tuple[int, ...] | None = None
    """Only runs of these projects; `None` for all."""
    statuses: tuple[RunStatus, ...] = ()
    run_types: tuple[RunType, ...] = ()
    """Only runs of these types; empty for all. The same holds for `statuses`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The worker that has a run, and when its lease expires."""

    worker: str
    token_hash: str
    seconds: int
    expires_at: str


class RunningLease(NamedTuple):
    """The lease of a running run."""

    id: int
    """The run's id."""
    seconds: int | None
    """How long it lasts after each heartbeat; `None` if that was not stored."""


class AgentRunRepository(BaseRepository[AgentRun]):
    """The table `agent_runs`."""

    writable = frozenset(
        {
            "project_id",
            "run_number",
            "target_text",
            "planning_statement",
            "run_type",
            "result",
            "error_message",
            "pr_number",
            "pr_url",
            "web_url",
            "codegen_run_id",
            "validation_status",
            "auto_merge_enabled",
            "merge_completed",
            "metadata",
            "settings_version",
        }
    )
    defaults = MappingProxyType(
        {
            "planning_statement": None,
            "run_type": "regular",
            "status": "pending",
            "result": None,
            "error_message": None,
            "pr_number": None,
            "pr_url": None,
            "web_url": None,
            "codegen_run_id": None,
            "validation_status": "pending",
            "auto_merge_enabled": 0,
            "merge_completed": 0,
            "metadata": "{}",
            "settings_version": None,
            "lease_token_hash": None,
            "lease_worker": None,
            "lease_expires_at": None,
            "lease_expiries": 0,
            "started_at": None,
            "completed_at": None,
            "version": 1,
            "lease_seconds": None,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(AgentRun, "agent_runs", db_manager, clock=clock)

    async def page(
        self, filter: RunFilter, *, limit: int, after: Position | None
    ) -> Page[AgentRun]:
        """Up to `limit` runs, newest first, after the position `after`."""
        if filter.project_ids == ():
            return Page([], None)
        query = _page_query(filter, limit=limit, after=after)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)

    async def json_page(self, filter: RunFilter, *, limit: int, after: Position | None) -> JsonPage:
        """The same page as JSON."""
        if filter.project_ids == ():
            return JsonPage([], None)
        query = _page_query(filter, limit=limit, after=after)
        return await fetch_json(self.db, query, limit, ("id",), _MEMBERS, LARGE_COLUMNS)

    async def transition(
        self,
        id: int,
        target: RunStatus,
        *,
        sources: Sequence[RunStatus],
        final: bool,
        outcome: Mapping[str, str | None],
        lease_expires_at: str | None,
    ) -> AgentRun | None:
        """Move the run from one of `sources` to `target`, and set the columns of `outcome`. Returns
        the changed run, or `None` when its status was not one of `sources`.

        A run that starts stores the version of its project's settings. A run that becomes running
        gets the lease end `lease_expires_at`, `None` without a lease.
        """
        now = self.now()
        computed: dict[str, Sql | Value] = {"status": target.value, "updated_at": now}
        if target is RunStatus.RUNNING:
            computed |= {**_started(now), "lease_expires_at": lease_expires_at}
        if final:
            computed["completed_at"] = now
        return await self.change(id, outcome, where=is_one_of("status", sources), computed=computed)

    async def oldest_pending(self, project_id: int) -> int | None:
        """The id of the project's oldest pending run, or `None`."""
        row = await self.db.fetch_one(
            "SELECT id FROM agent_runs WHERE project_id = ? AND status = 'pending'"
            " ORDER BY id LIMIT 1",
            (project_id,),
        )
        return row["id"] if row is not None else None

    async def pending_after(self, project_id: int, id: int, limit: int) -> list[int]:
        """The ids of the project's next pending runs after this one, oldest first."""
        rows = await self.db.fetch_all(
            "SELECT id FROM agent_runs WHERE project_id = ? AND status = 'pending' AND id > ?"
            " ORDER BY id LIMIT ?",
            (project_id, id, limit),
        )
        return [row["id"] for row in rows]

    async def claim(self, id: int, lease: Lease) -> AgentRun | None:
        """Start the run under a lease. Returns the changed run, or `None` when it is not pending
        any more."""
        now = self.now()
        computed: dict[str, Sql | Value] = {
            "status": RunStatus.RUNNING.value,
            **_started(now),
            "lease_worker": lease.worker,
            "lease_token_hash": lease.token_hash,
            "lease_seconds": lease.seconds,
            "lease_expires_at": lease.expires_at,
            "updated_at": now,
        }
        return await self.change(id, {}, where=Sql("status = 'pending'"), computed=computed)

    async def extend_lease(
        self, id: int, token_hash: str, expires_at: str | None
    ) -> AgentRun | None:
        """Set the lease end of an unfinished run; the run's version stays. `None` when the run is
        finished or has another lease."""
        rows = await self.db.execute_returning(
            "UPDATE agent_runs SET lease_expires_at = ?"
            " WHERE id = ? AND lease_token_hash = ? AND status IN ('running', 'paused')"
            " RETURNING *",
            (expires_at, id, token_hash),
        )
        return self.model(rows[0]) if rows else None

    async def running_leases(self) -> list[RunningLease]:
        """The leases that can expire."""
        rows = await self.db.fetch_all(
            "SELECT id, lease_seconds FROM agent_runs"
            " WHERE status = 'running' AND lease_expires_at IS NOT NULL"
        )
        return [RunningLease(row["id"], row["lease_seconds"]) for row in rows]

    async def renew_leases(self, ends: Sequence[tuple[str, int]]) -> None:
        """Set the lease ends of running runs; their versions stay. `ends` has pairs of a time and
        a run's id."""
        await self.db.execute_many(
            "UPDATE agent_runs SET lease_expires_at = ?"
            " WHERE id = ? AND status = 'running' AND lease_expires_at IS NOT NULL",
            ends,
        )

    async def leased(self) -> int:
        """The number of running runs with a lease."""
        row = await self.db.fetch_one(
            "SELECT count(*) AS runs FROM agent_runs"
            " WHERE status = 'running' AND lease_expires_at IS NOT NULL"
        )
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return int(row["runs"])

    async def created_at(self, id: int) -> str | None:
        """When the run was created; `None` when no run has this id."""
        row = await self.db.fetch_one("SELECT created_at FROM agent_runs WHERE id = ?", (id,))
        return row["created_at"] if row is not None else None

    async def has_expired_lease(self) -> bool:
        """Whether there is a running run whose lease has expired."""
        row = await self.db.fetch_one(
            "SELECT 1 FROM agent_runs WHERE status = 'running' AND lease_expires_at <= ? LIMIT 1",
            (self.now(),),
        )
        return row is not None

    async def expire_leases(self, error_message: str, *, limit: int) -> Sequence[AgentRun]:
        """Take back up to `limit` running runs whose lease has expired. Returns the changed runs:
        pending the first time, failed with `error_message` the second time."""
        now = self.now()

        def first_time(then: str, otherwise: str, *params: Value) -> Sql:
            return Sql(f"CASE lease_expiries WHEN 0 THEN {then} ELSE {otherwise} END", params)

        computed: dict[str, Sql | Value] = {
            "status": first_time("'pending'", "'failed'"),
            "started_at": first_time("NULL", "started_at"),
            "completed_at": first_time("NULL", "?", now),
            "error_message": first_time("error_message", "?", error_message),
            "lease_worker": None,
            "lease_token_hash": None,
            "lease_seconds": None,
            "lease_expires_at": None,
            "lease_expiries": Sql("lease_expiries + 1"),
            "updated_at": now,
        }
        expired = Sql(
            "status = 'running' AND id IN"
            " (SELECT id FROM agent_runs WHERE status = 'running' AND lease_expires_at <= ?"
            " ORDER BY lease_expires_at, id LIMIT ?)",
            (now, limit),
        )
        return await self.change_where(expired, {}, computed=computed)


def _started(now: str) -> dict[str, Sql]:
    """The columns of a run that starts. A pending run starts with the current settings; a paused
    one keeps its start time and its settings."""
    return {"started_at": Sql("COALESCE(started_at, ?)", (now,)), "settings_version": _OF_START}


_OF_START = Sql(
    "CASE status WHEN 'pending' THEN COALESCE((SELECT s.version FROM project_settings AS s"
    " WHERE s.project_id = agent_runs.project_id AND s.version > 0), 0)"
    " ELSE settings_version END"
)


LARGE_COLUMNS = ("target_text", "planning_statement", "result", "error_message", "metadata")
_MEMBERS = json_members(AgentRun)


def _page_query(filter: RunFilter, *, limit: int, after: Position | None) -> Query:
    query = Query("SELECT * FROM agent_runs")
    if filter.project_ids is not None:
        query.branch("project_id", filter.project_ids)
    run_types = [run_type.value for run_type in filter.run_types]
    if filter.statuses:
        query.branch("status", [status.value for status in filter.statuses])
        if run_types:
            # The index by type would also visit the runs of all other statuses.
            query.where_in(unindexed("run_type"), run_types)
    elif run_types:
        query.branch("run_type", run_types)
    query.keyset(("id",), after, descending=True, limit=limit)
    return query
