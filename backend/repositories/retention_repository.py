"""What is beyond the limits of what is kept: finding it, counting it, removing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.repositories.paging import Query
from database.base import TableAccess

Table = Literal["system_logs", "webhook_deliveries"]
"""The tables whose rows are removed from their oldest end on."""

SAMPLE = 500
"""Rows whose size stands for all that would go."""
_SIZES: dict[Table, str] = {
    "system_logs": "length(message) + length(context) + COALESCE(length(component), 0)"
    " + COALESCE(length(correlation_id), 0)",
    "webhook_deliveries": "length(payload)",
}
_ROW = 150
"""Characters that a row takes beside its texts: its other columns and its entries in indexes."""
_RUN_SIZE = (
    f"{2 * _ROW} + length(target_text) + COALESCE(length(planning_statement), 0)"
    " + COALESCE(length(result), 0) + COALESCE(length(error_message), 0) + length(metadata)"
)
_RESULT_SIZE = (
    f"{_ROW} + 4 * length(test_name) + COALESCE(length(result_data), 0)"
    " + COALESCE(length(error_message), 0)"
)
_SNAPSHOT_SIZE = f"{_ROW} + length(config) + COALESCE(length(validation_results), 0)"
_PARTS_OF_RUNS = (
    ("agent_runs", "id", _RUN_SIZE),
    ("pipeline_states", "agent_run_id", f"{_ROW} + length(metadata)"),
    ("test_results", "agent_run_id", _RESULT_SIZE),
    ("grainchain_snapshots", "agent_run_id", _SNAPSHOT_SIZE),
)


@dataclass(frozen=True, slots=True)
class Extent:
    """Rows, and how many characters of text their sample had on average."""

    rows: int
    characters: float


class RetentionRepository(TableAccess):
    """Rows by age and number, in several tables."""

    async def last_id_before(self, table: Table, time: str) -> int | None:
        """The id of the newest row that is older than `time`; `None` when there is none."""
        row = await self.db.fetch_one(
            f"SELECT id FROM {table} WHERE created_at < ?"
            " ORDER BY created_at DESC, id DESC LIMIT 1",
            (time,),
        )
        return row["id"] if row is not None else None

    async def last_id_beyond(self, table: Table, count: int) -> int | None:
        """The id of the newest row that is not among the newest `count`; `None` when there are no
        more than these."""
        # Ids are given out one after another, so that mostly nothing has to be counted.
        if await self.span(table) <= count:
            return None
        row = await self.db.fetch_one(
            f"SELECT id FROM {table} ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?", (count,)
        )
        return row["id"] if row is not None else None

    async def last_id_before_newer(self, table: Table, last_id: int, now: str) -> int | None:
        """`last_id`, or the last id before the first row that is newer than that of `last_id`
        although it came earlier; `None` when there is none.

        Rows are removed in the order in which they came, and one that was dated by a clock that
        was behind must not take newer ones along. What is dated after `now` is as old as its
        place. Reads the rows that are to go.
        """
        newer = await self.db.fetch_one(
            # The pluses leave it to the order of the ids, which ends at the first one found.
            f"SELECT id FROM {table} WHERE id < ? AND +created_at <= ?"
            f" AND +created_at > (SELECT created_at FROM {table} WHERE id = ?)"
            " ORDER BY id LIMIT 1",
            (last_id, now, last_id),
        )
        if newer is None:
            return last_id
        row = await self.db.fetch_one(
            f"SELECT max(id) AS id FROM {table} WHERE id < ?", (newer["id"],)
        )
        return row["id"] if row is not None else None

    async def span(self, table: Table) -> int:
        """How far the ids reach: no less than the number of rows, and mostly little more."""
        first = await self.db.fetch_one(f"SELECT min(id) AS id FROM {table}")
        last = await self.db.fetch_one(f"SELECT max(id) AS id FROM {table}")
        if first is None or last is None or last["id"] is None:
            return 0
        return int(last["id"] - first["id"]) + 1

    async def extent_until(self, table: Table, last_id: int) -> Extent:
        """The rows up to an id, but for those dated after that one, which a wrong clock has made.
        Reads as much of an index as they have entries."""
        row = await self.db.fetch_one(
            # The plus leaves it to the index by time, which is a fraction of the table.
            f"SELECT count(*) AS rows FROM {table} WHERE +id <= ?"
            f" AND created_at <= (SELECT created_at FROM {table} WHERE id = ?)",
            (last_id, last_id),
        )
        sample = await self.db.fetch_one(
            f"SELECT avg(size) AS size FROM (SELECT {_SIZES[table]} AS size FROM {table}"
            " WHERE id <= ? ORDER BY id LIMIT ?) AS sample",
            (last_id, SAMPLE),
        )
        rows = row["rows"] if row is not None else 0
        return Extent(rows, (sample["size"] if sample is not None else None) or 0.0)

    async def remove_deliveries_until(self, last_id: int, limit: int) -> int:
        """Remove the oldest deliveries, `limit` of them at most and none with a greater id than
        `last_id`; how many they were."""
        return await self.db.execute(
            "DELETE FROM webhook_deliveries WHERE id IN"
            " (SELECT id FROM webhook_deliveries WHERE id <= ? ORDER BY id LIMIT ?)",
            (last_id, limit),
        )

    async def runs_finished_before(self, time: str, limit: int) -> list[int]:
        """The ids of up to `limit` runs that ended before `time`, those first that ended first."""
        rows = await self.db.fetch_all(
            "SELECT id FROM agent_runs WHERE completed_at < ? ORDER BY completed_at, id LIMIT ?",
            (time, limit),
        )
        return [row["id"] for row in rows]

    async def projects_with_more_runs(self, count: int) -> list[int]:
        """The projects that ever had more than `count` runs."""
        rows = await self.db.fetch_all(
            "SELECT project_id FROM run_queues WHERE last_run_number > ? ORDER BY project_id",
            (count,),
        )
        return [row["project_id"] for row in rows]

    async def finished_runs_beyond(self, project_id: int, count: int, limit: int) -> list[int]:
        """The ids of up to `limit` finished runs that are not among the project's newest `count`,
        the oldest first."""
        rows = await self.db.fetch_all(
            "SELECT id FROM agent_runs WHERE project_id = ? AND completed_at IS NOT NULL"
            " AND id <= (SELECT id FROM agent_runs WHERE project_id = ?"
            " ORDER BY id DESC LIMIT 1 OFFSET ?) ORDER BY id LIMIT ?",
            (project_id, project_id, count, limit),
        )
        return [row["id"] for row in rows]

    async def remove_finished_runs(self, ids: Sequence[int]) -> int:
        """Remove those of the runs that are finished, with all that belongs to them but their
        logs, which are noted to go; how many they were."""
        marks = ", ".join("?" * len(ids))
        return await self.db.execute(
            f"DELETE FROM agent_runs WHERE id IN ({marks}) AND completed_at IS NOT NULL", ids
        )

    async def characters_of_runs(self, ids: Sequence[int]) -> int:
        """The characters of text that these runs have, and their states, results and snapshots."""
        total = 0
        for table, column, size in _PARTS_OF_RUNS:
            query = Query(f"SELECT sum({size}) AS size FROM {table}")
            query.where_in(column, ids)
            row = await self.db.fetch_one(*query.build())
            total += (row["size"] if row is not None else None) or 0
        return total

    async def count_logs_of_runs(self, ids: Sequence[int], after_id: int) -> int:
        """How many logs with a greater id than `after_id` these runs have."""
        query = Query("SELECT count(*) AS rows FROM system_logs")
        query.where_in("agent_run_id", ids)
        query.where("id > ?", after_id)
        row = await self.db.fetch_one(*query.build())
        return int(row["rows"]) if row is not None else 0

    async def count_noted_logs(self, after_id: int) -> int:
        """How many logs with a greater id than `after_id` have to go since their project or run is
        gone."""
        total = 0
        for column in ("project_id", "agent_run_id"):
            row = await self.db.fetch_one(
                "SELECT count(*) AS rows FROM system_log_removals AS r"
                f" JOIN system_logs AS l ON l.{column} = r.{column} WHERE l.id > ?",
                (after_id,),
            )
            total += int(row["rows"]) if row is not None else 0
        return total
