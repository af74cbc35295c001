"""Test results of runs, and of a project's latest runs, over HTTP."""

from typing import Annotated

from fastapi import Query, Request, status
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
from backend.errors import InvalidField
from backend.http.other_bodies import content_of
from backend.http.result_files import JUNIT_XML, TestResultFile
from backend.http.route_policy import reads, writes
from backend.schemas.fields import MaybeLeaseToken
from backend.schemas.results import (
    Attempts,
    OneOrManyResults,
    TestHistoryList,
    TestResultBatch,
    TestResultCounts,
    TestResultList,
    TestType,
)
from models import Scope, TestResult, TestStatus

router = GuardedRouter(
    tag="test results",
    about="Test results of runs, and each test's history.",
    policies={
        ("GET", "/api/agent-runs/{run_id}/test-results"): reads(Scope.RUNS_READ),
        ("POST", "/api/agent-runs/{run_id}/test-results"): writes(
            Scope.RUNS_WRITE, other_body=JUNIT_XML
        ),
        ("GET", "/api/projects/{project_id}/test-history"): reads(Scope.RUNS_READ),
    },
)

TestTypeFilter = Annotated[
    str | None, Query(max_length=100, description="Only results of this type.")
]


_EXAMPLE = (
    '<testsuite name="login">'
    '<testcase classname="tests.test_login" name="test_logs_in" time="0.21"/></testsuite>'
)
_XML = {
    "schema": {
        "type": "string",
        "description": "JUnit XML of at most 5 MiB, as pytest, Maven, Gradle, Jest, Go, dotnet, "
        "PHPUnit, Playwright and others write it.",
        "examples": [_EXAMPLE],
    }
}


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
    attempts: Annotated[
        Attempts, Query(description="`all` for all attempts, instead of the last one of each test.")
    ] = Attempts.LAST,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TestResultList:
    """One page of the run's results, newest first: the last attempt of each test, or all attempts;
    with the number of tests in each status, and of flaky ones."""
    return await service.test_results.page(
        run_id,
        statuses=status,
        test_type=test_type,
        all_attempts=attempts is Attempts.ALL,
        limit=limit,
        cursor=cursor,
    )


@router.post(
    "/api/agent-runs/{run_id}/test-results",
    status_code=status.HTTP_201_CREATED,
    responses=problems("agent_run_not_found", "project_not_found", "lease_lost", body=True),
    openapi_extra={"requestBody": {"content": dict.fromkeys(JUNIT_XML.media_types, _XML)}},
)
async def add_test_results(
    run_id: RunId,
    upload: OneOrManyResults,
    request: Request,
    service: Service,
    test_type: Annotated[
        TestType | None,
        Query(description="Only for XML: the type of its results, by default `junit`."),
    ] = None,
    lease_token: Annotated[
        MaybeLeaseToken, Query(description="Only for XML: the `lease_token` of the claim.")
    ] = None,
) -> TestResult | TestResultCounts:
    """Store one result, which is returned, or up to 1,000 in one transaction, or a file of JUnit
    XML, which are counted. A result completes an unfinished attempt of its test, or begins the next
    one. The same again changes nothing."""
    if isinstance(upload, bytes):
        file: TestResultFile = content_of(request)
        return await service.test_results.add_file(run_id, file, lease_token=lease_token)
    for name, value in (("test_type", test_type), ("lease_token", lease_token)):
        if value is not None:
            message = "is only for XML: in JSON, send it in the body"
            raise InvalidField(("query", name), "only_for_xml", message)
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
