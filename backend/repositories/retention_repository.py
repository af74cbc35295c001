"""Finding, counting and removing the rows beyond the retention limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backend.repositories.paging import Query
from database.base import TableAccess
from database.portable_sql import among

SAMPLE = 500
"""The number of rows from which the size of all removable rows is estimated."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows that share limits. An index has them by time and then by id."""

    table: str
    condition: str
    """Written as in the index, so that the index is used."""
    size: str
    """The SQL expression for the number of characters in a row's texts."""


_LOG_SIZE = (
    "length(message) + length(context) + COALESCE(length(component), 0)"
    " + COALESCE(length(correlation_id), 0)"
)
LOGS: Final = Kept("system_logs", "own = 0", _LOG_SIZE)
OWN_LOGS: Final = Kept("system_logs", "own = 1", _LOG_SIZE)
DELIVERIES: Final = Kept("webhook_deliveries", "1 = 1", "length(payload)")
ANSWERS: Final = Kept("stored_answers", "1 = 1", "length(sealed)")
KEPT: Final = (LOGS, OWN_LOGS, DELIVERIES, ANSWERS)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """The end of the removable rows: by their time, and for equal times by their id."""

    created_at: str
    id: int
    """The id of the last removable row."""
    now: str
    """Rows with a later time were written while a clock was wrong."""
    before_id: int
    """The id of the first row that stays. A row with a time after `now` is removed if its id is
    less, because only its id tells its age."""

    @property
    def by_time(self) -> tuple[str, int]:
        return self.created_at, self.id

    @property
    def by_place(self) -> tuple[str, int]:
        return self.now, self.before_id


_ROW = 150
"""Characters that a row takes besides its texts: its other columns and its index entries."""
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
    ("messages", "agent_run_id", f"{2 * _ROW} + length(content)"),
    ("test_results", "agent_run_id", _RESULT_SIZE),
    ("grainchain_snapshots", "agent_run_id", _SNAPSHOT_SIZE),
)


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of rows, and the average number of characters in a sample of them."""

    rows: int
    characters: float


class RetentionRepository(TableAccess):
    """Finds and removes rows by age and number, in several tables."""

    async def cutoff(
        self, kept: Kept, *, before: str | None, newest: int | None, now: str
    ) -> Cutoff | None:
        """The end of the rows that are older than `before` or not among the newest `newest`;
        `None` when there are no such rows."""
        lasts = [
            await self._last(kept, "created_at < ?", before) if before is not None else None,
            await self._beyond(kept, newest, now) if newest is not None else None,
        ]
        last = max((row for row in lasts if row is not None), default=None)
        if last is None:
            return None
        stays = await self.db.fetch_one(
            f"SELECT id FROM {kept.table} WHERE {kept.condition}"
            " AND (created_at, id) > (?, ?) AND created_at <= ? ORDER BY created_at, id LIMIT 1",
            (*last, now),
        )
        return Cutoff(*last, now, stays["id"] if stays is not None else last[1])

    async def _last(
        self, kept: Kept, condition: str, time: str, skip: int = 0
    ) -> tuple[str, int] | None:
        row = await self.db.fetch_one(
            f"SELECT created_at, id FROM {kept.table} WHERE {kept.condition} AND {condition}"
            " ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?",
            (time, skip),
        )
        return (row["created_at"], row["id"]) if row is not None else None

    async def _beyond(self, kept: Kept, newest: int, now: str) -> tuple[str, int] | None:
        # Ids are assigned in sequence, so that counting is rarely necessary.
        if await self.span(kept.table) <= newest:
            return None
        return await self._last(kept, "created_at <= ?", now, newest)

    async def span(self, table: str) -> int:
        """The range of the ids: an upper bound on the number of rows, and usually close to it."""
        first = await self.db.fetch_one(f"SELECT min(id) AS id FROM {table}")
        last = await self.db.fetch_one(f"SELECT max(id) AS id FROM {table}")
        if first is None or last is None or last["id"] is None:
            return 0
        return int(last["id"] - first["id"]) + 1

    async def ids_until(self, kept: Kept, cutoff: Cutoff, limit: int) -> list[int]:
        """The ids of up to `limit` removable rows, oldest first."""
        ids: list[int] = []
        for condition, params in _going(cutoff):
            if len(ids) < limit:
                rows = await self.db.fetch_all(
                    f"SELECT id FROM {kept.table} WHERE {kept.condition} AND {condition}"
                    " ORDER BY created_at, id LIMIT ?",
                    (*params, limit - len(ids)),
                )
                ids += [row["id"] for row in rows]
        return ids

    async def extent(self, kept: Kept, cutoff: Cutoff | None) -> Extent:
        """The extent of the removable rows. Reads their index entries."""
        if cutoff is None:
            return Extent(0, 0.0)
        total = 0
        for condition, params in _going(cutoff):
            row = await self.db.fetch_one(
                f"SELECT count(*) AS rows FROM {kept.table} WHERE {kept.condition} AND {condition}",
                params,
            )
            total += row["rows"] if row is not None else 0
        sample = await self.db.fetch_one(
            f"SELECT avg(size) AS size FROM (SELECT {kept.size} AS size FROM {kept.table}"
            f" WHERE {kept.condition} AND (created_at, id) <= (?, ?)"
            " ORDER BY created_at, id LIMIT ?) AS sample",
            (*cutoff.by_time, SAMPLE),
        )
        return Extent(total, (sample["size"] if sample is not None else None) or 0.0)

    async def remove_deliveries(self, ids: Sequence[int]) -> int:
        """Remove the deliveries with these ids. Returns their number."""
        return await self.db.execute(
            f"DELETE FROM webhook_deliveries WHERE {among('id', ids)}", ids
        )

    async def runs_finished_before(self, time: str, limit: int) -> list[int]:
        """The ids of up to `limit` runs that ended before `time`, in the order of their end."""
        rows = await self.db.fetch_all(
            "SELECT id FROM agent_runs WHERE completed_at < ? ORDER BY completed_at, id LIMIT ?",
            (time, limit),
        )
        return [row["id"] for row in rows]

    async def projects_with_more_runs(self, count: int) -> list[int]:
        """The ids of the projects that ever had more than `count` runs."""
        rows = await self.db.fetch_all(
            "SELECT project_id FROM run_queues WHERE last_run_number > ? ORDER BY project_id",
            (count,),
        )
        return [row["project_id"] for row in rows]

    async def finished_runs_beyond(self, project_id: int, count: int, limit: int) -> list[int]:
        """The ids of up to `limit` finished runs that are not among the project's newest `count`,
        oldest first."""
        rows = await self.db.fetch_all(
            "SELECT id FROM agent_runs WHERE project_id = ? AND completed_at IS NOT NULL"
            " AND id <= (SELECT id FROM agent_runs WHERE project_id = ?"
            " ORDER BY id DESC LIMIT 1 OFFSET ?) ORDER BY id LIMIT ?",
            (project_id, project_id, count, limit),
        )
        return [row["id"] for row in rows]

    async def remove_finished_runs(self, ids: Sequence[int]) -> int:
        """Remove the finished runs among these, with everything that belongs to them except their
        logs, which become orphaned. Returns the number of removed runs."""
        return await self.db.execute(
            f"DELETE FROM agent_runs WHERE {among('id', ids)} AND completed_at IS NOT NULL", ids
        )

    async def characters_of_runs(self, ids: Sequence[int]) -> int:
        """The characters of text in these runs and in what is removed with them, without logs."""
        total = 0
        for table, column, size in _PARTS_OF_RUNS:
            query = Query(f"SELECT sum({size}) AS size FROM {table}")
            query.where_in(column, ids)
            row = await self.db.fetch_one(*query.build())
            total += (row["size"] if row is not None else None) or 0
        return total

    async def count_logs_of_runs(self, ids: Sequence[int], cutoff: Cutoff | None) -> int:
        """The number of logs of these runs, without those up to `cutoff`."""
        query = Query("SELECT count(*) AS rows FROM system_logs")
        query.where_in("agent_run_id", ids)
        if cutoff is not None:
            query.where(_STAYS, *cutoff.by_time, *cutoff.by_place)
        row = await self.db.fetch_one(*query.build())
        return int(row["rows"]) if row is not None else 0

    async def count_orphaned_logs(self, cutoff: Cutoff | None) -> int:
        """The number of logs whose project or run was removed, without those up to `cutoff`."""
        stays, params = (
            ("1 = 1", ()) if cutoff is None else (_STAYS, (*cutoff.by_time, *cutoff.by_place))
        )
        total = 0
        for column in ("project_id", "agent_run_id"):
            row = await self.db.fetch_one(
                "SELECT count(*) AS rows FROM system_log_removals AS r"
                f" CROSS JOIN system_logs WHERE system_logs.{column} = r.{column} AND {stays}",
                params,
            )
            total += int(row["rows"]) if row is not None else 0
        return total


_STAYS = (
    "(system_logs.created_at, system_logs.id) > (?, ?)"
    " AND NOT (system_logs.created_at > ? AND system_logs.id < ?)"
)


def _going(cutoff: Cutoff) -> list[tuple[str, tuple[str, int]]]:
    """The conditions, of which each removable row meets one."""
    return [
        ("(created_at, id) <= (?, ?)", cutoff.by_time),
        ("created_at > ? AND id < ?", cutoff.by_place),
    ]
