"""Test results of runs, as they are read: the last attempt of each test, or all attempts."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from backend.repositories.paging import (
    MAX_PAGE_BYTES,
    Page,
    Position,
    Query,
    fetch_page,
    json_members,
)
from backend.repositories.test_attempt_repository import ResultKey
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Row
from models import TestResult, TestStatus

_TEST = ("test_type", "test_name")


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """The filters of a list of a run's results; empty or `None` for no filter."""

    statuses: tuple[TestStatus, ...] = ()
    """Results with one of these statuses."""
    test_type: str | None = None
    all_attempts: bool = False
    """Also attempts that others followed."""


class Summary(NamedTuple):
    """How many tests a run has: by the status of their last attempt, and flaky ones."""

    statuses: dict[TestStatus, int]
    """Without statuses that no test has."""
    flaky: int


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
    attempt: int
    flaky: bool
    duration_seconds: float | None
    updated_at: str


class TestResultRepository(BaseRepository[TestResult]):
    """The table `test_results`."""

    __test__ = False
    versioned = False
    defaults = MappingProxyType(
        {
            "attempt": 1,
            "is_last": 1,
            "flaky": 0,
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

    async def get_by_test(self, run_id: int, test: ResultKey) -> TestResult | None:
        """The last attempt of this test in the run, or `None`."""
        row = await self.db.fetch_one(
            "SELECT * FROM test_results WHERE agent_run_id = ? AND test_type = ?"
            " AND test_name = ? AND is_last = 1",
            (run_id, *test),
        )
        return self.model(row) if row is not None else None

    async def get_attempt(self, run_id: int, test: ResultKey, attempt: int) -> TestResult | None:
        """An attempt of this test in the run that others followed, or `None`."""
        row = await self.db.fetch_one(
            "SELECT * FROM test_results WHERE agent_run_id = ? AND test_type = ?"
            " AND test_name = ? AND is_last = 0 AND attempt = ?",
            (run_id, *test, attempt),
        )
        return self.model(row) if row is not None else None

    async def page(
        self, run_id: int, filter: ResultFilter, *, limit: int, after: Position | None
    ) -> Page[TestResult]:
        """Up to `limit` results of a run, newest first, after the position `after`."""
        query = Query("SELECT * FROM test_results")
        query.where("agent_run_id = ?", run_id)
        if filter.all_attempts:
            query.branch("is_last", (1, 0))
        else:
            query.where("is_last = 1")
        if filter.test_type is not None:
            query.where("test_type = ?", filter.test_type)
        if filter.statuses:
            query.branch("status", [status.value for status in filter.statuses])
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)

    async def summary(self, run_id: int) -> Summary:
        """The summary of the run's tests. Results with an unknown status, which another program
        wrote, are not counted."""
        rows = await self.db.fetch_all(
            "SELECT status, count(*) AS results, sum(flaky) AS flaky FROM test_results"
            " WHERE agent_run_id = ? AND is_last = 1 GROUP BY status ORDER BY status",
            (run_id,),
        )
        found = {row["status"]: row["results"] for row in rows}
        return Summary(
            {status: found[status] for status in TestStatus if status in found},
            sum(row["flaky"] for row in rows),
        )

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
        query.where("agent_run_id = ? AND is_last = 1", run_id)
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


def _outcome(row: Row) -> Outcome:
    return Outcome(*row)


_MEMBERS = json_members(TestResult)
