"""Logs: many at once, filtered and searched pages, removal in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal, cast

from backend.repositories.log_blocks import IdRanges, forget_empty_blocks, store_blocks
from backend.repositories.log_index import LogIndex, NewLog
from backend.repositories.log_search import LogFilter, LogSearch
from backend.repositories.paging import Page, PageReader, Position, Query, json_members
from database.base import Clock, TableAccess, time_text, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Executor, Row
from database.portable_sql import with_ids
from models import SystemLog, utc_datetime

__all__ = ["LogFilter", "NewLog", "Removal", "SystemLogRepository"]

_COLUMNS = (
    "level, level_no, message, component, context, correlation_id, project_id, agent_run_id,"
    " created_at, own"
)
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
_OWN_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"
_LARGEST_INSERT = 128
"""The most rows of one statement: a power of two, so that few statements serve batches of any
size. A statement with many rows takes half the time of one statement for each row, and releases
the interpreter lock while it runs."""
_CLOCK_SLACK = timedelta(minutes=10)
"""If the clock was set back by less than this, new logs get the time of the last log until the
clock has caught up."""

_BEYOND = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Removal:
    """A removed project or run whose logs have to be removed."""

    id: int
    column: Literal["project_id", "agent_run_id"]
    owner_id: int


class SystemLogRepository(TableAccess):
    """The table `system_logs`, its full-text index, and the records of logs to remove."""

    @property
    def index(self) -> LogIndex:
        """The index of words in messages, and of labels."""
        return LogIndex(self.db)

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(db_manager, clock=clock)
        # The same object in all transactions, which tells that their rows can be stored together.
        self._store_together = self._store_in

    async def append(self, logs: Sequence[NewLog], *, own: bool = False) -> None:
        """Insert `logs`, with ids and times in their order; `own` for the service's own logs."""
        if own:
            await self._store(logs, own=True)
        else:
            await self.db.gather(self._store_together, logs)

    async def _store_in(self, executor: Executor, logs: Sequence[NewLog]) -> None:
        await self.using(executor)._store(logs, own=False)

    async def _store(self, logs: Sequence[NewLog], *, own: bool) -> None:
        last = await self.db.fetch_one(
            "SELECT id, created_at, (SELECT max(block) FROM system_log_blocks) AS newest_block"
            " FROM system_logs WHERE id = (SELECT max(id) FROM system_logs)"
        )
        if last is not None:
            await store_blocks(self.db, last["id"], last["newest_block"])
        now = _not_before(last["created_at"], self.clock()) if last is not None else self.now()
        ids: list[int] = []
        size = _LARGEST_INSERT
        while len(ids) < len(logs):
            while size > len(logs) - len(ids):
                size //= 2
            rows = logs[len(ids) : len(ids) + size]
            ids += await self.db.insert(
                f"INSERT INTO system_logs ({_COLUMNS})"
                f" VALUES {', '.join([_OWN_ROW if own else _ROW] * size)}",
                list(chain.from_iterable((*row, now) for row in rows)),
                size,
            )
        await self.index.add(ids, logs)

    async def projects_of_runs(self, run_ids: Sequence[int]) -> dict[int, int]:
        """The project of each of these runs, without runs that do not exist."""
        if not run_ids:
            return {}
        query = Query("SELECT id, project_id FROM agent_runs")
        query.where_in("id", run_ids)
        rows = await self.db.fetch_all(*query.build())
        return {row["id"]: row["project_id"] for row in rows}

    async def existing_projects(self, project_ids: Sequence[int]) -> frozenset[int]:
        """The ids of the projects that exist, deleted or not."""
        if not project_ids:
            return frozenset()
        query = Query("SELECT id FROM projects")
        query.where_in("id", project_ids)
        return frozenset(row["id"] for row in await self.db.fetch_all(*query.build()))

    async def page(
        self, filter: LogFilter, *, limit: int, after: Position | None
    ) -> Page[SystemLog]:
        """Up to `limit` logs, newest first, after the position `after`. Call it inside a
        transaction, because it may need several statements."""
        reader = PageReader(limit, _log, ("id",), members=_MEMBERS)
        search = LogSearch(filter)
        earlier = await self.index.last_earlier() if search.needs_index else 0
        if filter.since is None and filter.until is None:
            for part in _parts(None, after, earlier):
                await self._read(reader, search, part, limit)
            return reader.page()
        below = cast(int, after[0]) if after is not None else _BEYOND
        ranges = IdRanges(self.db, filter.since, filter.until, below)
        while not reader.is_full and (ids := await ranges.next()) is not None:
            for part in _parts(ids, None, earlier):
                await self._read(reader, search, part, limit)
        return reader.page()

    async def following(
        self, filter: LogFilter, after_id: int, until_id: int | None, limit: int
    ) -> Page[SystemLog]:
        """Up to `limit` logs after the id `after_id` and up to `until_id`, oldest first. Call it
        inside a transaction, because it may need several statements."""
        reader = PageReader(limit, _log, ("id",), members=_MEMBERS)
        last = until_id if until_id is not None else _BEYOND
        if after_id < last:
            search = LogSearch(filter)
            earlier = await self.index.last_earlier() if search.needs_index else 0
            for part in reversed(_parts((after_id + 1, last), None, earlier)):
                await self._read(reader, search, part, limit, descending=False)
        return reader.page()

    async def extent(self) -> tuple[int, int, int]:
        """The epoch, the id up to which logs were removed, and the id of the newest log, even if
        that was removed. Call it inside a transaction, because it needs several statements."""
        row = await self.db.fetch_one(
            "SELECT (SELECT epoch FROM installation WHERE id = 1) AS epoch,"
            " (SELECT min(id) FROM system_logs) AS first_id"
        )
        values: Sequence[int | None] = tuple(row) if row is not None else (None, None)
        epoch, first_id = values
        last_id = await self.db.dialect.next_id(self.db, "system_logs") - 1
        return epoch or 1, first_id - 1 if first_id is not None else last_id, last_id

    async def _read(
        self,
        reader: PageReader[SystemLog],
        search: LogSearch,
        part: "_Part",
        limit: int,
        *,
        descending: bool = True,
    ) -> None:
        if reader.is_full:
            return
        if not search.needs_index:
            query, id_column = search.by_table()
        elif part.earlier:
            query, id_column = search.by_earlier_index(self.index.earlier)
        else:
            query, id_column = search.by_index(self.index.words)
        if part.ids is not None:
            query.where(f"{id_column} BETWEEN ? AND ?", *part.ids)
        query.keyset((id_column,), part.after, descending=descending, limit=limit)
        await reader.read(self.db, query)

    async def remove(self, ids: Sequence[int]) -> int:
        """Remove the logs with these ids, which must all exist. Returns their number."""
        if not ids:
            return 0
        await self.index.remove(ids)
        condition, params = with_ids(ids)
        await self.db.execute(f"DELETE FROM system_logs WHERE {condition}", params)
        await forget_empty_blocks(self.db, ids)
        return len(ids)

    async def tidy_index(self, *, begin: bool) -> bool:
        """Rebuild a part of the full-text index: see `TextIndex.tidy`."""
        return await self.index.words.tidy(self.db, begin=begin)

    async def next_removal(self) -> Removal | None:
        """A project or run whose logs have to be removed; `None` when no such record is left."""
        row = await self.db.fetch_one(
            "SELECT * FROM system_log_removals WHERE id = (SELECT min(id) FROM system_log_removals)"
        )
        if row is None:
            return None
        if row["project_id"] is not None:
            return Removal(row["id"], "project_id", row["project_id"])
        return Removal(row["id"], "agent_run_id", row["agent_run_id"])

    async def remove_of(self, removal: Removal, limit: int) -> int:
        """Remove up to `limit` logs of this project or run. Returns their number. Fewer than
        `limit` means that no log is left; the removal's record is then deleted as well."""
        rows = await self.db.fetch_all(
            f"SELECT id FROM system_logs WHERE {removal.column} = ? ORDER BY id LIMIT ?",
            (removal.owner_id, limit),
        )
        removed = await self.remove([row["id"] for row in rows])
        if removed < limit:
            await self.db.execute("DELETE FROM system_log_removals WHERE id = ?", (removal.id,))
        return removed


def _log(row: Row) -> SystemLog:
    return SystemLog.of_row(dict(row))


def _not_before(last: str, now: datetime) -> str:
    text = time_text(now)
    if text < last:
        at = utc_datetime(last)
        if at is not None and at - now < _CLOCK_SLACK:
            return last
    return text


_MEMBERS = json_members(SystemLog)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a search: the logs in a range of ids, in one of the indexes."""

    ids: tuple[int, int] | None
    """The first and the last id; `None` for all."""
    after: Position | None
    earlier: bool = False
    """Whether they are still in the index of an earlier version."""


def _parts(ids: tuple[int, int] | None, after: Position | None, earlier: int) -> list[_Part]:
    """The parts of a search in this range of ids, greatest ids first. Logs up to the id `earlier`
    are in the earlier index."""
    if not earlier:
        return [_Part(ids, after)]
    first, last = ids or (0, _BEYOND)
    parts = []
    if last > earlier:
        parts.append(_Part((max(first, earlier + 1), last), after))
    if first <= earlier:
        parts.append(_Part((first, min(last, earlier)), after, earlier=True))
    return parts
