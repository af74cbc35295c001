"""Test results of runs: one for each test of a run, however often it is uploaded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""Where a row has the type and the name of its test."""
_REPLACED = ("status", *_NULLABLE, "updated_at")

# A row that is the same again stays as it is. Spelled out, because the two engines share no
# operator that tells null from null; and qualified, as an upsert asks for it.
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
    """What a list of a run's results holds; what is left out does not narrow it."""

    statuses: tuple[TestStatus, ...] = ()
    """Any of these."""
    test_type: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which tests a history is about; `None` does not narrow it."""

    test_name: str | None = None
    test_type: str | None = None


class RunNumber(NamedTuple):
    """A run, as its project counts it."""

    id: int
    run_number: int


class Outcome(NamedTuple):
    """How a test went in a run."""

    test_type: str
    test_name: str
    status: str
    duration_seconds: float | None
    updated_at: str


class TestResultRepository(BaseRepository[TestResult]):
    """The table `test_results`."""

    __test__ = False
    versioned = False

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(TestResult, "test_results", db_manager, clock=clock)

    async def upsert(self, run_id: int, results: Sequence[Mapping[str, Any]]) -> int:
        """Insert these results of a run in their order, or put them in the place of those of the
        same test; how many rows changed: what is the same already does not."""
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
        """How many of all the run's results have each status; only those that there are."""
        rows = await self.db.fetch_all(
            "SELECT status, count(*) AS results FROM test_results"
            " WHERE agent_run_id = ? GROUP BY status ORDER BY status",
            (run_id,),
        )
        return {TestStatus(row["status"]): row["results"] for row in rows}

    async def last_runs(self, project_id: int, runs: int) -> list[RunNumber]:
        """The project's last runs, the newest first."""
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
        """Results of a run in the order of type and name, after the position of that pair: up to
        `limit`, and one more if there is one, of `most_bytes` together."""
        query = Query(f"SELECT {', '.join(Outcome._fields)} FROM test_results")
        query.where("agent_run_id = ?", run_id)
        start = dict(zip(_TEST, after, strict=True)) if after is not None else None
        # A part that is given orders nothing any more; left in the order, it would cost a sort.
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
    """The rows of an upsert, in parts that follow one another: no test is in one of them twice."""
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
