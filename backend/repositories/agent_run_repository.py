"""Agent runs: pages, conditional transitions between statuses, and leases."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from backend.repositories.following_index import RunIndexRepository
from backend.repositories.paging import (
    JsonPage,
    Page,
    Position,
    Statement,
    fetch_json,
    fetch_page,
    is_one_of,
    json_members,
)
from backend.repositories.run_pages import RunFilter, read_page, run_order
from database.base import BaseRepository, Clock, Sql, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Value
from database.portable_sql import among
from database.text_keys import text_key
from models import AgentRun, RunStatus


class Lease(NamedTuple):
    """The worker that has a run, and when its lease expires."""

    worker: str
    token_hash: str
    seconds: int
    expires_at: str


_LEASE_COLUMNS = ("lease_worker", "lease_token_hash", "lease_seconds", "lease_expires_at")
"""The columns of a `Lease`, in its order."""


class RunInProject(NamedTuple):
    """A run, and what is known of its project."""

    run: AgentRun
    is_live: bool
    """Whether its project exists and is not deleted."""


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
            "target_key": None,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(AgentRun, "agent_runs", db_manager, clock=clock)

    async def get_in_project(self, id: int) -> RunInProject | None:
        """The run, and whether its project is there; `None` when no run has this id."""
        row = await self.db.fetch_one(
            "SELECT r.*, COALESCE(p.status, 'deleted') <> 'deleted' AS is_live"
            " FROM agent_runs AS r LEFT JOIN projects AS p ON p.id = r.project_id WHERE r.id = ?",
            (id,),
        )
        if row is None:
            return None
        columns = dict(row)
        is_live = bool(columns.pop("is_live"))
        return RunInProject(self.model(columns), is_live)

    async def page(
        self, filter: RunFilter, *, sort: str, limit: int, after: Position | None
    ) -> Page[AgentRun]:
        """Up to `limit` runs after the position `after`, in the order of `sort`: `created_at` or
        `updated_at`, prefixed with `-` for descending order. If the filter `needs_transaction`,
        call it inside one."""
        if filter.project_ids == ():
            return Page([], None)
        order = run_order(sort, limit, after)

        async def fetch(query: Statement) -> Page[AgentRun]:
            return await fetch_page(
                self.db, query, limit, self.model, order.columns, members=RUN_MEMBERS
            )

        return await read_page(self.db, filter, order, fetch)

    async def json_page(
        self, filter: RunFilter, *, sort: str, limit: int, after: Position | None
    ) -> JsonPage:
        """The same page as JSON."""
        if filter.project_ids == ():
            return JsonPage([], None)
        order = run_order(sort, limit, after)

        async def fetch(query: Statement) -> JsonPage:
            return await fetch_json(
                self.db, query, limit, order.columns, RUN_MEMBERS, LARGE_COLUMNS
            )

        return await read_page(self.db, filter, order, fetch)

    async def change(
        self,
        id: int,
        data: Mapping[str, Any],
        *,
        expected: int | None = None,
        where: Sql | None = None,
        computed: Mapping[str, Sql | Value] | None = None,
    ) -> AgentRun | None:
        """Change the row as every repository does, and its place in the index."""
        if "target_text" not in data:
            return await super().change(id, data, expected=expected, where=where, computed=computed)
        index = RunIndexRepository.over(self.db).index
        await index.remove(self.db, id)
        changed = await super().change(id, data, expected=expected, where=where, computed=computed)
        # Also if nothing was changed.
        await index.add(self.db, id, id)
        return changed

    def columns(self, data: Mapping[str, Any]) -> dict[str, Value]:
        """`data` with the key of the target text, unless SQL can tell it from the text."""
        columns = super().columns(data)
        if "target_text" in data:
            text = data["target_text"]
            columns["target_key"] = None if text.isascii() else text_key(text)
        return columns

    async def transition(
        self,
        id: int,
        target: RunStatus,
        *,
        sources: Sequence[RunStatus],
        final: bool,
        outcome: Mapping[str, str | None],
        lease_expires_at: str | None,
        expected: int | None = None,
    ) -> AgentRun | None:
        """Move the run from one of `sources` to `target`, and set the columns of `outcome`. Returns
        the changed run, or `None` when its status was not one of `sources`, or its version not
        `expected`.

        A run that starts stores the version of its project's settings. A run that becomes running
        gets the lease end `lease_expires_at`, `None` without a lease.
        """
        now = self.now()
        computed: dict[str, Sql | Value] = {"status": target.value, "updated_at": now}
        if target is RunStatus.RUNNING:
            computed |= {**_started(now), "lease_expires_at": lease_expires_at}
        if final:
            computed["completed_at"] = now
        where = is_one_of("status", sources)
        return await self.change(id, outcome, expected=expected, where=where, computed=computed)

    async def pending_after(self, project_id: int, id: int, limit: int) -> list[int]:
        """The ids of the project's next pending runs after this one, oldest first."""
        rows = await self.db.fetch_all(
            "SELECT id FROM agent_runs WHERE project_id = ? AND status = 'pending' AND id > ?"
            " ORDER BY id LIMIT ?",
            (project_id, id, limit),
        )
        return [row["id"] for row in rows]

    async def claim(self, leases: Mapping[int, Lease]) -> list[dict[str, Any]]:
        """Start the runs with these ids, each under its lease. Returns the columns of the changed
        rows in the order of their ids, without runs that are not pending any more.

        Raises `CheckViolation`, and changes nothing, when another program wrote a run that can't
        be stored again.
        """
        now = self.now()
        computed: dict[str, Sql | Value] = {
            "status": RunStatus.RUNNING.value,
            **_started(now),
            **{
                column: _of_each(leases, position) for position, column in enumerate(_LEASE_COLUMNS)
            },
            "updated_at": now,
        }
        pending = Sql(f"{among('id', tuple(leases))} AND status = 'pending'", tuple(leases))
        rows = await self.change_rows(pending, {}, computed=computed)
        return sorted(map(dict, rows), key=_id_of)

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


def _of_each(leases: Mapping[int, Lease], position: int) -> Sql | Value:
    """The value of a column of leased runs: what stands at this position in the lease of each."""
    if len(leases) == 1:
        [lease] = leases.values()
        return lease[position]
    whens = " ".join(["WHEN ? THEN ?"] * len(leases))
    values = (value for id, lease in leases.items() for value in (id, lease[position]))
    return Sql(f"CASE id {whens} END", tuple(values))


def _started(now: str) -> dict[str, Sql]:
    """The columns of a run that starts. A pending run starts with the current settings; a paused
    one keeps its start time and its settings."""
    return {"started_at": Sql("COALESCE(started_at, ?)", (now,)), "settings_version": _OF_START}


_OF_START = Sql(
    "CASE status WHEN 'pending' THEN COALESCE((SELECT s.version FROM project_settings AS s"
    " WHERE s.project_id = agent_runs.project_id AND s.version > 0), 0)"
    " ELSE settings_version END"
)


_id_of = itemgetter("id")

LARGE_COLUMNS = ("target_text", "planning_statement", "result", "error_message", "metadata")
RUN_MEMBERS = json_members(AgentRun)
"""The members of a run's JSON."""
