"""Every statement about results and snapshots finds its rows in order through an index."""

import pytest
from fastapi import FastAPI

from backend.repositories.grainchain_snapshot_repository import GrainchainSnapshotRepository
from backend.repositories.test_result_repository import (
    HistoryFilter,
    ResultFilter,
    TestResultRepository,
)
from database.base import TableAccess
from models import SnapshotStatus, TestStatus
from tests.results.support import results
from tests.support.http import manager_of
from tests.support.plans import Explaining, is_careless

_NULLABLE = ("duration_seconds", "result_data", "error_message", "screenshot_path", "log_path")


@pytest.fixture
def plans(application: FastAPI) -> Explaining:
    """An executor that keeps the plans of its statements."""
    return Explaining(manager_of(application).async_pool)


@pytest.fixture
async def of_results(application: FastAPI, plans: Explaining, run_id: int) -> TestResultRepository:
    """The repository over a run with four results."""
    repository = TestResultRepository(manager_of(application)).using(plans)
    rows = results("unit/a/passed", "unit/b/failed", "e2e/a/passed", "e2e/c/passed")
    whole = [dict.fromkeys(_NULLABLE) | row for row in rows["test_results"]]
    assert await repository.upsert(run_id, whole) == 4
    assert await repository.upsert(run_id, whole) == 0
    return repository


def careless(plans: Explaining) -> list[str]:
    return [step for step in plans.steps() if is_careless(step)]


@pytest.mark.shared
async def test_no_statement_about_results_scans_or_sorts(
    of_results: TestResultRepository, plans: Explaining, run_id: int
) -> None:
    assert await of_results.get_by_test(run_id, "unit", "a") is not None
    assert await of_results.summary(run_id) == {TestStatus.FAILED: 1, TestStatus.PASSED: 3}
    assert len(await of_results.last_runs(1, 5)) == 1
    assert careless(plans) == []


async def test_a_test_that_comes_twice_is_in_two_upserts(
    of_results: TestResultRepository, plans: Explaining, run_id: int
) -> None:
    rows = results("u/a/failed", "u/b/failed", "u/a/passed", "v/a/failed", "u/a/error")
    plans.plans.clear()
    nothing = dict.fromkeys(_NULLABLE)
    changed = await of_results.upsert(run_id, [nothing | row for row in rows["test_results"]])
    # An engine may combine the rows of one call into one statement, which can't change a row twice.
    assert (changed, len(plans.plans)) == (5, 3)
    for test, status in (("u", "a"), "error"), (("u", "b"), "failed"), (("v", "a"), "failed"):
        result = await of_results.get_by_test(run_id, *test)
        assert result is not None
        assert result.status == status


@pytest.mark.shared
@pytest.mark.parametrize("statuses", [(), (TestStatus.PASSED,), tuple(TestStatus)])
@pytest.mark.parametrize("test_type", [None, "e2e"])
@pytest.mark.parametrize("after", [None, (99,)])
async def test_no_list_of_results_scans_or_sorts(
    of_results: TestResultRepository,
    plans: Explaining,
    run_id: int,
    statuses: tuple[TestStatus, ...],
    test_type: str | None,
    after: tuple[int] | None,
) -> None:
    page = await of_results.page(run_id, ResultFilter(statuses, test_type), limit=9, after=after)
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
            {"upsert", "get_by_test", "summary", "last_runs", "page", "outcomes"},
        ),
        (GrainchainSnapshotRepository, {"create", "change_from", "page"}),
    ],
)
def test_every_statement_was_looked_at(repository: type[TableAccess], tried: set[str]) -> None:
    public = {name for name in vars(repository) if not name.startswith("_")}
    assert public - {"writable", "versioned", "defaults"} == tried
