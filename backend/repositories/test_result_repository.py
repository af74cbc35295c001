"""Test results of runs: one row for each test of a run, however often it is uploaded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from backend.repositories.paging import (
    MAX_PAGE_BYTES,
    Page,
    Position,
    Query,
    fetch_page,
    json_members,
)
from database.base import BaseRepository, Clock, encode, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Row, Value
from models import TestResult, TestStatus

_TEST = ("test_type", "test_name")
_NULLABLE = ("duration_seconds", "result_data", "error_message", "screenshot_path", "log_path")
_UPLOADED = (*_TEST, "status", *_NULLABLE)
_INSERTED = ("agent_run_id", *_UPLOADED, "created_at", "updated_at")
_OF_TEST = slice(1, 1 + len(_TEST))
"""The place of the test's type and name in a row."""
_REPLACED = ("status", *_NULLABLE, "updated_at")

# A row that is uploaded again unchanged is not updated. Written out, because SQLite and PostgreSQL
# share no operator that compares nulls; qualified, because an upsert requires it.
_DIFFERS = " OR ".join(
    [
        "test_results.status <> excluded.status",
        *(
            f"test_results.{name} <> excluded.{name}"
            f" OR (test_results.{name} IS NULL) <> (excluded.{name} IS NULL)"
            for name in _NULLABLE
        ),
    ]
)
_UPSERT = (
    f"INSERT INTO test_results ({', '.join(_INSERTED)})"
    f" VALUES ({', '.join('?' * len(_INSERTED))})"
    " ON CONFLICT (agent_run_id, test_type, test_name)"
    f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _REPLACED)}"
    f" WHERE {_DIFFERS}"
)


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """The filters of a list of a run's results; empty or `None` for no filter."""

    statuses: tuple[TestStatus, ...] = ()
    """Results with one of these statuses."""
    test_type: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """The filters of a history of tests; `None` for no filter."""

    test_name: str | None = None
    test_type: str | None = None


class RunNumber(NamedTuple):
    """A run's id, and its number in its project."""

    id: int
    run_number: int


class Outcome(NamedTuple):
    """A test's result in a run."""

    test_type: str
    test_name: str
    status: str
    duration_seconds: float | None
    updated_at: str


class TestResultRepository(BaseRepository[TestResult]):
    """The table `test_results`."""

    __test__ = False
    versioned = False
    defaults = MappingProxyType(
        {
            "duration_seconds": None,
            "result_data": None,
            "error_message": None,
            "screenshot_path": None,
            "log_path": None,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(TestResult, "test_results", db_manager, clock=clock)

    async def upsert(self, run_id: int, results: Sequence[Mapping[str, Any]]) -> int:
        """Insert these results of a run in their order, or replace earlier results of the same
        test. Returns how many rows changed; equal results change nothing."""
        now = self.now()
        rows = [
            (run_id, *(encode(result[name]) for name in _UPLOADED), now, now) for result in results
        ]
        changed = 0
        for part in _each_test_once(rows):
            changed += await self.db.execute_many(_UPSERT, part)
        return changed

    async def get_by_test(self, run_id: int, test_type: str, test_name: str) -> TestResult | None:
        """The run's result of this test, or `None`."""
        row = await self.db.fetch_one(
            "SELECT * FROM test_results WHERE agent_run_id = ? AND test_type = ? AND test_name = ?",
            (run_id, test_type, test_name),
        )
        return self.model(row) if row is not None else None

    async def page(
        self, run_id: int, filter: ResultFilter, *, limit: int, after: Position | None
    ) -> Page[TestResult]:
        """Up to `limit` results of a run, newest first, after the position `after`."""
        query = Query("SELECT * FROM test_results")
        query.where("agent_run_id = ?", run_id)
        if filter.test_type is not None:
            query.where("test_type = ?", filter.test_type)
        if filter.statuses:
            query.branch("status", [status.value for status in filter.statuses])
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)

    async def summary(self, run_id: int) -> dict[TestStatus, int]:
        """The number of the run's results by status, without statuses that no result has. Results
        with an unknown status, which another program wrote, are not counted."""
        rows = await self.db.fetch_all(
            "SELECT status, count(*) AS results FROM test_results"
            " WHERE agent_run_id = ? GROUP BY status ORDER BY status",
            (run_id,),
        )
        found = {row["status"]: row["results"] for row in rows}
        return {status: found[status] for status in TestStatus if status in found}

    async def last_runs(self, project_id: int, runs: int) -> list[RunNumber]:
        """The project's last runs, newest first."""
        rows = await self.db.fetch_all(
            "SELECT id, run_number FROM agent_runs WHERE project_id = ? ORDER BY id DESC LIMIT ?",
            (project_id, runs),
        )
        return [RunNumber(*row) for row in rows]

    async def outcomes(
        self,
        run_id: int,
        filter: HistoryFilter,
        *,
        limit: int,
        after: Position | None,
        most_bytes: int = MAX_PAGE_BYTES,
    ) -> Page[Outcome]:
        """Results of a run by type and name, after the position `after`: up to `limit` and one
        more, of at most `most_bytes` together."""
        query = Query(f"SELECT {', '.join(Outcome._fields)} FROM test_results")
        query.where("agent_run_id = ?", run_id)
        start = dict(zip(_TEST, after, strict=True)) if after is not None else None
        # A column with a fixed value does not affect the order; keeping it would cost a sort.
        keys = [name for name in _TEST if getattr(filter, name) is None]
        for name in _TEST:
            if name not in keys:
                query.where(f"{name} = ?", getattr(filter, name))
        if keys:
            position = tuple(start[name] for name in keys) if start is not None else None
            query.keyset(keys, position, descending=False, limit=limit)
        used = MAX_PAGE_BYTES - most_bytes
        return await fetch_page(self.db, query, limit + 1, _outcome, _TEST, used=used)


def _each_test_once(rows: list[tuple[Value, ...]]) -> list[list[tuple[Value, ...]]]:
    """The rows of an upsert, in consecutive parts that contain each test at most once."""
    parts: list[list[tuple[Value, ...]]] = []
    seen: Counter[tuple[Value, ...]] = Counter()
    for row in rows:
        test = row[_OF_TEST]
        if seen[test] == len(parts):
            parts.append([])
        parts[seen[test]].append(row)
        seen[test] += 1
    return parts


def _outcome(row: Row) -> Outcome:
    return Outcome(*row)


_MEMBERS = json_members(TestResult)
