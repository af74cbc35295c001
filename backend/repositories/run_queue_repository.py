"""The queues of projects: the numbers of their runs, and which project's turn is next."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from backend.repositories.paging import Query
from database.base import TableAccess
from database.portable_sql import among, unindexed


class QueueHead(NamedTuple):
    """A project with pending runs."""

    project_id: int
    next_run_id: int
    """The queue's lower bound on their ids."""
    oldest_id: int | None
    """The oldest one's id; `None` if none is left, because they were cancelled."""


class RunDefaults(NamedTuple):
    """What a new run takes from its project."""

    auto_merge_enabled: bool
    settings_version: int
    """0 when the project has the default settings."""


class TakenNumbers(NamedTuple):
    """The numbers that new runs of a project get."""

    first: int
    """The others follow it."""
    next_run_id: int | None
    """A lower bound on the ids of the project's pending runs; `None` when it has none."""


class RunQueueRepository(TableAccess):
    """The table `run_queues`."""

    async def run_defaults(self, project_ids: Sequence[int]) -> dict[int, RunDefaults]:
        """What new runs take from these projects, by project, without those that are missing or
        deleted."""
        rows = await self.db.fetch_all(
            "SELECT p.id, p.auto_merge_enabled, s.version FROM projects AS p"
            " LEFT JOIN project_settings AS s ON s.project_id = p.id"
            f" WHERE {among('p.id', project_ids)} AND p.status <> 'deleted'",
            tuple(project_ids),
        )
        return {
            # A claim refuses settings that were changed in the file, not the creation of a run.
            project_id: RunDefaults(bool(auto_merge), max(version or 0, 0))
            for project_id, auto_merge, version in rows
        }

    async def take_numbers(self, counts: Mapping[int, int]) -> dict[int, TakenNumbers]:
        """Take the next numbers of projects, which are not reused: as many as `counts` says for
        each project. Returns them by project.

        Raises `ForeignKeyViolation` when a project does not exist.
        """
        rows = await self.db.execute_returning(
            "INSERT INTO run_queues (project_id, last_run_number)"
            f" VALUES {', '.join(['(?, ?)'] * len(counts))}"
            " ON CONFLICT (project_id) DO UPDATE"
            " SET last_run_number = run_queues.last_run_number + excluded.last_run_number"
            " RETURNING project_id, last_run_number, next_run_id",
            [value for taken in counts.items() for value in taken],
        )
        return {
            project_id: TakenNumbers(last - counts[project_id] + 1, next_run_id)
            for project_id, last, next_run_id in rows
        }

    async def enqueue(self, project_id: int, run_id: int) -> None:
        """Note that this run of the project is pending now. It already has its number."""
        await self.db.execute(
            "UPDATE run_queues SET next_run_id = ?"
            " WHERE project_id = ? AND (next_run_id IS NULL OR next_run_id > ?)",
            (run_id, project_id, run_id),
        )

    async def first_waiting(
        self, project_ids: Sequence[int] | None, *, limit: int
    ) -> list[QueueHead]:
        """Up to `limit` queues with pending runs, in projects that are not deleted: the project
        served least recently first, and among equals the one with the oldest run. With
        `project_ids`, only queues of these projects."""
        # This join order makes the engine use the index on the turns.
        query = Query(
            f"SELECT q.project_id, q.next_run_id, {_oldest_pending('q.project_id')}"
            " FROM run_queues AS q CROSS JOIN projects AS p"
        )
        query.where("p.id = q.project_id AND p.status <> 'deleted' AND q.next_run_id IS NOT NULL")
        if project_ids is not None:
            query.where_in(unindexed("q.project_id"), project_ids)
        query.keyset(("q.claim_turn", "q.next_run_id"), None, descending=False, limit=limit - 1)
        rows = await self.db.fetch_all(*query.build())
        return [QueueHead(*row) for row in rows]

    async def waiting(self) -> tuple[int, int | None]:
        """The number of pending runs in projects that are not deleted, and the id of the oldest;
        `None` when none is pending. It reads one run of each project with pending runs."""
        row = await self.db.fetch_one(
            "SELECT COALESCE(sum(q.pending_runs), 0) AS runs, min((SELECT min(r.id)"
            " FROM agent_runs AS r WHERE r.project_id = q.project_id AND r.status = 'pending'))"
            " AS oldest_id FROM run_queues AS q CROSS JOIN projects AS p"
            " WHERE q.next_run_id IS NOT NULL AND p.id = q.project_id AND p.status <> 'deleted'"
        )
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return row["runs"], row["oldest_id"]

    async def set_next(self, project_id: int, run_id: int | None) -> None:
        """Set the id of the project's oldest pending run, `None` when it has none."""
        await self.db.execute(
            "UPDATE run_queues SET next_run_id = ? WHERE project_id = ?", (run_id, project_id)
        )

    async def end_turns(self, project_ids: Sequence[int]) -> None:
        """Move the projects to the end of the queue, in this order, each with the id of its oldest
        pending run."""
        await self.db.execute(
            f"WITH ended (id, place) AS (VALUES {', '.join(['(?, ?)'] * len(project_ids))})"
            f" UPDATE run_queues SET next_run_id = {_oldest_pending('run_queues.project_id')},"
            " claim_turn = (SELECT max(claim_turn) FROM run_queues) + ended.place"
            " FROM ended WHERE run_queues.project_id = ended.id",
            [value for place, id in enumerate(project_ids, 1) for value in (id, place)],
        )


def _oldest_pending(project_id: str) -> str:
    """The subquery for the id of the oldest pending run of a project."""
    return (
        f"(SELECT r.id FROM agent_runs AS r WHERE r.project_id = {project_id}"
        " AND r.status = 'pending' ORDER BY r.id LIMIT 1)"
    )
