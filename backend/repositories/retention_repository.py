"""What is beyond the limits of what is kept: finding it, counting it, removing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backend.repositories.paging import Query
from database.base import TableAccess
from database.portable_sql import among

SAMPLE = 500
"""Rows whose size stands for all that would go."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows that have limits together. An index has them by time, in the order of their ids."""

    table: str
    condition: str
    """Spelled out as the index has it."""
    size: str
    """The characters of a row's texts."""


_LOG_SIZE = (
    "length(message) + length(context) + COALESCE(length(component), 0)"
    " + COALESCE(length(correlation_id), 0)"
)
LOGS: Final = Kept("system_logs", "own = 0", _LOG_SIZE)
OWN_LOGS: Final = Kept("system_logs", "own = 1", _LOG_SIZE)
DELIVERIES: Final = Kept("webhook_deliveries", "1 = 1", "length(payload)")
KEPT: Final = (LOGS, OWN_LOGS, DELIVERIES)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Up to where rows go: by their time, and among those of the same time by their id."""

    created_at: str
    id: int
    """Of the last row that goes."""
    now: str
    """No clock that was right has dated a row after this time."""
    before_id: int
    """What is dated after `now` is as old as its place: it goes if its id is less than this one,
    the id of the first row that stays."""

    @property
    def by_time(self) -> tuple[str, int]:
        return self.created_at, self.id

    @property
    def by_place(self) -> tuple[str, int]:
        return self.now, self.before_id


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

    async def cutoff(
        self, kept: Kept, *, before: str | None, newest: int | None, now: str
    ) -> Cutoff | None:
        """Up to where rows go that are older than `before`, or not among the newest `newest`;
        `None` when none does."""
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
        # Ids are given out one after another, so that mostly nothing has to be counted.
        if await self.span(kept.table) <= newest:
            return None
        return await self._last(kept, "created_at <= ?", now, newest)

    async def span(self, table: str) -> int:
        """How far the ids reach: no less than the number of rows, and mostly little more."""
        first = await self.db.fetch_one(f"SELECT min(id) AS id FROM {table}")
        last = await self.db.fetch_one(f"SELECT max(id) AS id FROM {table}")
        if first is None or last is None or last["id"] is None:
            return 0
        return int(last["id"] - first["id"]) + 1

    async def ids_until(self, kept: Kept, cutoff: Cutoff, limit: int) -> list[int]:
        """The ids of up to `limit` of the rows that go, the oldest first."""
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
        """The rows that go. Reads as much of an index as they have entries."""
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
        """Remove the deliveries with these ids; how many they were."""
        return await self.db.execute(
            f"DELETE FROM webhook_deliveries WHERE {among('id', ids)}", ids
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
        logs, which become orphaned; how many they were."""
        return await self.db.execute(
            f"DELETE FROM agent_runs WHERE {among('id', ids)} AND completed_at IS NOT NULL", ids
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

    async def count_logs_of_runs(self, ids: Sequence[int], cutoff: Cutoff | None) -> int:
        """How many logs these runs have, without those that go at `cutoff`."""
        query = Query("SELECT count(*) AS rows FROM system_logs")
        query.where_in("agent_run_id", ids)
        if cutoff is not None:
            query.where(_STAYS, *cutoff.by_time, *cutoff.by_place)
        row = await self.db.fetch_one(*query.build())
        return int(row["rows"]) if row is not None else 0

    async def count_orphaned_logs(self, cutoff: Cutoff | None) -> int:
        """How many logs have to go since their project or run is gone, without those that go at
        `cutoff`."""
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
    """The conditions of which the rows that go fulfil one."""
    return [
        ("(created_at, id) <= (?, ?)", cutoff.by_time),
        ("created_at > ? AND id < ?", cutoff.by_place),
    ]
