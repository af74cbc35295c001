"""The queues of projects: the numbers of their runs, and which project's turn is next."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.repositories.paging import Query
from database.base import TableAccess
from database.portable_sql import unindexed


@dataclass(frozen=True, slots=True)
class QueueHead:
    """A project with pending runs, and a lower bound on their ids."""

    project_id: int
    next_run_id: int


class RunQueueRepository(TableAccess):
    """The table `run_queues`."""

    async def next_number(self, project_id: int) -> int:
        """The number of the project's next run: one more than the last. Numbers are not reused.

        Raises `ForeignKeyViolation` when the project does not exist.
        """
        rows = await self.db.execute_returning(
            "INSERT INTO run_queues (project_id, last_run_number) VALUES (?, 1)"
            " ON CONFLICT (project_id) DO UPDATE"
            " SET last_run_number = run_queues.last_run_number + 1 RETURNING last_run_number",
            (project_id,),
        )
        return int(rows[0]["last_run_number"])

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
            "SELECT q.project_id, q.next_run_id FROM run_queues AS q CROSS JOIN projects AS p"
        )
        query.where("p.id = q.project_id AND p.status <> 'deleted' AND q.next_run_id IS NOT NULL")
        if project_ids is not None:
            query.where_in(unindexed("q.project_id"), project_ids)
        query.keyset(("q.claim_turn", "q.next_run_id"), None, descending=False, limit=limit - 1)
        rows = await self.db.fetch_all(*query.build())
        return [QueueHead(row["project_id"], row["next_run_id"]) for row in rows]

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

    async def end_turn(self, project_id: int, next_run_id: int | None) -> None:
        """Move the project to the end of the queue, with the id of its oldest pending run."""
        await self.db.execute(
            "UPDATE run_queues SET next_run_id = ?,"
            " claim_turn = (SELECT max(claim_turn) FROM run_queues) + 1"
            " WHERE project_id = ?",
            (next_run_id, project_id),
        )
