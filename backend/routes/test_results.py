"""Test results of runs, and of a project's latest runs, over HTTP."""

from typing import Annotated

from fastapi import Query, status
from pydantic import Field

from backend.dependencies import (
    AnyOf,
    Cursor,
    GuardedRouter,
    Limit,
    PlainDigits,
    ProjectId,
    RunId,
    Service,
    problems,
)
from backend.http.route_policy import reads, writes
from backend.schemas.results import (
    OneOrManyResults,
    TestHistoryList,
    TestResultBatch,
    TestResultCounts,
    TestResultList,
)
from models import Scope, TestResult, TestStatus

router = GuardedRouter(
    tag="test results",
    policies={
        ("GET", "/api/agent-runs/{run_id}/test-results"): reads(Scope.RUNS_READ),
        ("POST", "/api/agent-runs/{run_id}/test-results"): writes(Scope.RUNS_WRITE),
        ("GET", "/api/projects/{project_id}/test-history"): reads(Scope.RUNS_READ),
    },
)

TestTypeFilter = Annotated[
    str | None, Query(max_length=100, description="Only results of this type.")
]


@router.get(
    "/api/agent-runs/{run_id}/test-results", responses=problems("agent_run_not_found", "bad_cursor")
)
async def list_test_results(
    run_id: RunId,
    service: Service,
    status: Annotated[
        AnyOf[TestStatus], Query(description="Only results with these statuses.")
    ] = (),
    test_type: TestTypeFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TestResultList:
    """One page of the run's results, newest first, with the number of results in each status."""
    return await service.test_results.page(
        run_id, statuses=status, test_type=test_type, limit=limit, cursor=cursor
    )


@router.post(
    "/api/agent-runs/{run_id}/test-results",
    status_code=status.HTTP_201_CREATED,
    responses=problems("agent_run_not_found", "lease_lost", body=True),
)
async def add_test_results(
    run_id: RunId, upload: OneOrManyResults, service: Service
) -> TestResult | TestResultCounts:
    """Store one result, which is returned, or up to 1,000 in one transaction, which are counted.
    A result replaces the run's earlier result of the same test."""
    if isinstance(upload, TestResultBatch):
        return await service.test_results.add_all(run_id, upload)
    return await service.test_results.add(run_id, upload)


@router.get(
    "/api/projects/{project_id}/test-history",
    responses=problems("project_not_found", "bad_cursor"),
)
async def get_test_history(
    project_id: ProjectId,
    service: Service,
    test_name: Annotated[str | None, Query(max_length=500, description="Only this test.")] = None,
    test_type: TestTypeFilter = None,
    runs: Annotated[
        int,
        Field(ge=1, le=100),
        PlainDigits,
        Query(description="How many of the latest runs to look at."),
    ] = 20,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TestHistoryList:
    """One page of the tests in the project's latest runs, by type and name: how often each passed
    and failed, and for one `test_name` also its result in each run."""
    return await service.test_results.history(
        project_id, test_name=test_name, test_type=test_type, runs=runs, limit=limit, cursor=cursor
    )
