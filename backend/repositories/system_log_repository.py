"""Logs: many at once, filtered and searched pages, removal in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal, cast

from backend.repositories.log_blocks import IdRanges, forget_empty_blocks, store_blocks
from backend.repositories.paging import Page, PageReader, Position, Query, json_members
from database.base import Clock, TableAccess, time_text, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Executor, Row, TextIndex, Value
from database.portable_sql import among, unindexed, with_ids
from models import LogLevel, SystemLog, utc_datetime

NewLog = tuple[str, int, str, str | None, str, str | None, int | None, int | None]
"""Level, its number, message, component, context as JSON text, correlation id, project, run."""

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

_INDEX = ("system_log_index", "system_log_terms", "message", "labels")
_MAX_PROJECT_LABELS = 100
"""A token that is bound to more projects sees most rows anyway, so they are scanned."""
_BEYOND = 2**63 - 1
_NOT_REMOVED = (
    "NOT EXISTS (SELECT 1 FROM system_log_removals AS r WHERE r.project_id = l.project_id)",
    "NOT EXISTS (SELECT 1 FROM system_log_removals AS r WHERE r.agent_run_id = l.agent_run_id)",
)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """The filters of a list of logs; `None` for no filter."""

    level: LogLevel | None = None
    """Only logs of this level and above."""
    component: str | None = None
    correlation_id: str | None = None
    agent_run_id: int | None = None
    project_ids: tuple[int, ...] | None = None
    """Logs of these projects only."""
    since: str | None = None
    until: str | None = None
    """`since` and `until` are both included, in the form of `time_text`."""
    words: tuple[str, ...] = ()
    """The message contains all of these words; case and accents are ignored."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A removed project or run whose logs have to be removed."""

    id: int
    column: Literal["project_id", "agent_run_id"]
    owner_id: int


class SystemLogRepository(TableAccess):
    """The table `system_logs`, its full-text index, and the records of logs to remove."""

    @property
    def index(self) -> TextIndex:
        """The index of words in messages, and of the labels that the view makes of traits."""
        return self.db.dialect.text_index(*_INDEX)

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
        await self.index.add(self.db, ids)

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
        if filter.since is None and filter.until is None:
            query, id_column = self._query(filter)
            query.keyset((id_column,), after, descending=True, limit=limit)
            await reader.read(self.db, query)
            return reader.page()
        below = cast(int, after[0]) if after is not None else _BEYOND
        ranges = IdRanges(self.db, filter.since, filter.until, below)
        while not reader.is_full and (ids := await ranges.next()) is not None:
            query, id_column = self._query(filter)
            query.where(f"{id_column} BETWEEN ? AND ?", *ids)
            query.keyset((id_column,), None, descending=True, limit=limit)
            await reader.read(self.db, query)
        return reader.page()

    def _query(self, filter: LogFilter) -> tuple[Query, str]:
        """The query for the filter's logs, and the column that orders them."""
        traits = list(_traits(filter))
        labelled = [trait for trait in traits if trait.labels]
        if filter.words or len(labelled) > 1 or not all(trait.ordered for trait in labelled):
            source, id_column = self.index.joined("system_logs", "l")
            query = Query(f"SELECT l.* FROM {source}")
            found, params = self.index.matching(filter.words, [trait.labels for trait in labelled])
            query.where(found, *params)
        else:
            query, id_column = Query("SELECT l.* FROM system_logs AS l"), "l.id"
        # Also checked for rows from the index, because a message may contain the text of a label.
        for trait in traits:
            query.where(trait.condition, *trait.params)
        if filter.since is not None:
            query.where(f"{unindexed('l.created_at')} >= ?", filter.since)
        if filter.until is not None:
            query.where(f"{unindexed('l.created_at')} <= ?", filter.until)
        for condition in _NOT_REMOVED:
            query.where(condition)
        return query, id_column

    async def remove(self, ids: Sequence[int]) -> int:
        """Remove the logs with these ids, which must all exist. Returns their number."""
        if not ids:
            return 0
        await self.index.remove(self.db, ids)
        condition, params = with_ids(ids)
        await self.db.execute(f"DELETE FROM system_logs WHERE {condition}", params)
        await forget_empty_blocks(self.db, ids)
        return len(ids)

    async def tidy_index(self, *, begin: bool) -> bool:
        """Rebuild a part of the full-text index: see `FullTextIndex.tidy`."""
        return await self.index.tidy(self.db, begin=begin)

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


@dataclass(frozen=True, slots=True)
class _Trait:
    """One condition that logs are filtered by."""

    condition: str
    params: tuple[Value, ...] = ()
    labels: tuple[str, ...] = ()
    """A matching log has one of these labels, which the view `system_log_terms` makes."""
    ordered: bool = False
    """Whether an index of the table returns exactly these logs in the order of their ids."""


def _traits(filter: LogFilter) -> Iterator[_Trait]:
    if filter.level is not None and filter.level is not LogLevel.DEBUG:
        least = filter.level.number
        numbers = [level.number for level in LogLevel if level.number >= least]
        yield _Trait(
            # A literal, because with a parameter the engine can't use the partial index.
            f"l.level_no >= {least:d}",
            labels=tuple(f"l{number}" for number in numbers),
            ordered=filter.level is not LogLevel.INFO,
        )
    if filter.component is not None:
        label = "c" + filter.component.encode().hex()
        yield _Trait("l.component = ?", (filter.component,), (label,))
    if filter.correlation_id is not None:
        label = "i" + filter.correlation_id.encode().hex()
        yield _Trait("l.correlation_id = ?", (filter.correlation_id,), (label,))
    if filter.agent_run_id is not None:
        run = filter.agent_run_id
        yield _Trait("l.agent_run_id = ?", (run,), (f"r{run}",), ordered=True)
    if filter.project_ids is not None:
        yield _project_trait(filter.project_ids)


def _project_trait(ids: tuple[int, ...]) -> _Trait:
    if not ids:
        return _Trait("1 = 0")
    if len(ids) > _MAX_PROJECT_LABELS:
        # With an index on `project_id`, the rows would have to be sorted.
        return _Trait(among(unindexed("l.project_id"), ids), ids)
    labels = tuple(f"p{project_id}" for project_id in ids)
    if len(ids) == 1:
        return _Trait("l.project_id = ?", ids, labels, ordered=True)
    return _Trait(among("l.project_id", ids), ids, labels)


_MEMBERS = json_members(SystemLog)
