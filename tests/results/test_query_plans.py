"""Every statement about results and snapshots finds its rows in order through an index."""

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI

from backend.repositories.grainchain_snapshot_repository import GrainchainSnapshotRepository
from backend.repositories.test_attempt_repository import (
    Content,
    ResultKey,
    TestAttemptRepository,
    UploadedResult,
)
from backend.repositories.test_result_repository import (
    HistoryFilter,
    ResultFilter,
    TestResultRepository,
)
from backend.services.runs.attempts import apply
from database.base import TableAccess
from models import SnapshotStatus, TestStatus
from tests.results.support import results
from tests.support.http import manager_of
from tests.support.plans import Explaining, is_careless


@pytest.fixture
def plans(application: FastAPI) -> Explaining:
    """An executor that keeps the plans of its statements."""
    return Explaining(manager_of(application).async_pool)


@pytest.fixture
async def of_results(application: FastAPI, plans: Explaining, run_id: int) -> TestResultRepository:
    """The repository over a run with four results."""
    repository = TestResultRepository(manager_of(application)).using(plans)
    rows = results("unit/a/passed", "unit/b/failed", "e2e/a/passed", "e2e/c/passed")
    attempts = TestAttemptRepository(manager_of(application)).using(plans)
    for batch in (rows, results("unit/a/passed", "unit/a/failed"), rows):
        uploads = [uploaded(row) for row in batch["test_results"]]
        changes, _ = apply(uploads, await attempts.stored(run_id, uploads))
        await attempts.write(run_id, changes)
    return repository


def uploaded(row: Mapping[str, Any], attempt: int | None = None) -> UploadedResult:
    key = ResultKey(row["test_type"], row["test_name"])
    return UploadedResult(key, attempt, Content(row["status"], None, None, "m", None, None))


def careless(plans: Explaining) -> list[str]:
    return [step for step in plans.steps() if is_careless(step)]


@pytest.mark.shared
async def test_no_statement_about_results_scans_or_sorts(
    of_results: TestResultRepository, plans: Explaining, run_id: int
) -> None:
    assert await of_results.get_by_test(run_id, ResultKey("unit", "a")) is not None
    assert await of_results.get_attempt(run_id, ResultKey("unit", "a"), 1) is not None
    assert await of_results.summary(run_id) == ({TestStatus.FAILED: 1, TestStatus.PASSED: 3}, 1)
    assert len(await of_results.last_runs(1, 5)) == 1
    assert careless(plans) == []


@pytest.mark.usefixtures("of_results")
async def test_no_statement_about_attempts_scans_or_sorts(
    application: FastAPI, plans: Explaining, run_id: int
) -> None:
    attempts = TestAttemptRepository(manager_of(application)).using(plans)
    plans.plans.clear()
    row = {"test_type": "unit", "test_name": "a"}
    for number, status in ((2, "error"), (None, "running"), (None, "passed"), (3, "skipped")):
        uploads = [uploaded({**row, "status": status}, number)]
        changes, _ = apply(uploads, await attempts.stored(run_id, uploads))
        await attempts.write(run_id, changes)
    for is_new in (True, False):
        assert await attempts.add_file(run_id, b"d" * 32) is is_new
    assert careless(plans) == []


@pytest.mark.shared
@pytest.mark.parametrize("statuses", [(), (TestStatus.PASSED,), tuple(TestStatus)])
@pytest.mark.parametrize("test_type", [None, "e2e"])
@pytest.mark.parametrize("after", [None, (10**6,)])
@pytest.mark.parametrize("all_attempts", [False, True])
async def test_no_list_of_results_scans_or_sorts(
    of_results: TestResultRepository,
    plans: Explaining,
    run_id: int,
    statuses: tuple[TestStatus, ...],
    test_type: str | None,
    after: tuple[int] | None,
    all_attempts: bool,
) -> None:
    filter = ResultFilter(statuses, test_type, all_attempts)
    page = await of_results.page(run_id, filter, limit=9, after=after)
    assert len(page.items) >= 2
    assert careless(plans) == []


@pytest.mark.shared
@pytest.mark.parametrize("test_name", [None, "a"])
@pytest.mark.parametrize("test_type", [None, "unit"])
@pytest.mark.parametrize("after", [None, ("", "")])
async def test_no_page_of_a_history_scans_or_sorts(
    of_results: TestResultRepository,
    plans: Explaining,
    run_id: int,
    test_name: str | None,
    test_type: str | None,
    after: tuple[str, str] | None,
) -> None:
    page = await of_results.outcomes(
        run_id, HistoryFilter(test_name, test_type), limit=9, after=after
    )
    found = page.items
    assert found == sorted(found)
    assert len(found) >= 1
    steps = plans.steps()
    assert [step for step in steps if is_careless(step)] == []
    # The position is looked up in the index, without a walk to it.
    if after is not None and None in (test_name, test_type):
        assert ">" in steps[-1]


async def test_no_statement_about_snapshots_scans_or_sorts(
    application: FastAPI, plans: Explaining, run_id: int
) -> None:
    snapshots = GrainchainSnapshotRepository(manager_of(application)).using(plans)
    made = await snapshots.create({"agent_run_id": run_id, "snapshot_id": "s", "config": {}})
    changed = await snapshots.change_from(
        made.id, {"status": SnapshotStatus.READY}, sources=[SnapshotStatus.CREATING]
    )
    assert changed is not None
    assert await snapshots.get_by_id(made.id) == changed
    for after in (None, (99,)):
        assert (await snapshots.page(run_id, limit=1, after=after)).items
    assert careless(plans) == []


@pytest.mark.parametrize(
    ("repository", "tried"),
    [
        (
            TestResultRepository,
            {"get_by_test", "get_attempt", "summary", "last_runs", "page", "outcomes"},
        ),
        (TestAttemptRepository, {"stored", "write", "add_file"}),
        (GrainchainSnapshotRepository, {"create", "change_from", "page"}),
    ],
)
def test_every_statement_was_looked_at(repository: type[TableAccess], tried: set[str]) -> None:
    public = {name for name in vars(repository) if not name.startswith("_")}
    assert public - {"writable", "versioned", "defaults"} == tried
