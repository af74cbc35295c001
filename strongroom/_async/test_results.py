"""Results of tests, and the history of tests."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import (
    Attempts,
    TestHistory,
    TestHistoryList,
    TestResult,
    TestResultCounts,
    TestResultCreate,
    TestResultList,
    TestStatus,
)


class TestResults(Resource):
    """`client.test_results`."""

    @operation("addTestResults")
    async def create(
        self,
        run_id: int,
        *,
        test_type: str,
        test_name: str,
        status: TestStatus | Unset = UNSET,
        attempt: int | Unset | None = UNSET,
        duration_seconds: float | Unset | None = UNSET,
        error_message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        log_path: str | Unset | None = UNSET,
        result_data: Mapping[str, Any] | Unset | None = UNSET,
        screenshot_path: str | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> TestResult:
        """Store one result. It completes an unfinished attempt of its test, or begins the next one.
        The same again changes nothing."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/test-results",
            fields(
                test_type=test_type,
                test_name=test_name,
                status=status,
                attempt=attempt,
                duration_seconds=duration_seconds,
                error_message=error_message,
                lease_token=lease_token,
                log_path=log_path,
                result_data=result_data,
                screenshot_path=screenshot_path,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(TestResult, response)

    @operation("addTestResults")
    async def create_many(
        self,
        run_id: int,
        test_results: Iterable[TestResultCreate | Mapping[str, Any]],
        *,
        lease_token: str | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> TestResultCounts:
        """Store up to 1,000 results in one transaction."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/test-results",
            fields(test_results=test_results, lease_token=lease_token),
            idempotency_key=idempotency_key,
        )
        return parsed(TestResultCounts, response)

    @operation("addTestResults")
    async def upload(
        self,
        run_id: int,
        junit_xml: bytes | str,
        *,
        test_type: str | None = None,
        lease_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> TestResultCounts:
        """Store the results in a file of JUnit XML (its content), up to 5 MiB."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/test-results",
            None,
            filters(test_type=test_type, lease_token=lease_token),
            content=junit_xml.encode() if isinstance(junit_xml, str) else junit_xml,
            media_type="application/xml",
            idempotency_key=idempotency_key,
        )
        return parsed(TestResultCounts, response)

    @operation("listTestResults")
    def list(
        self,
        run_id: int,
        *,
        status: TestStatus | Sequence[TestStatus] | None = None,
        test_type: str | None = None,
        attempts: Attempts | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[TestResult, TestResultList]:
        """The run's results, newest first: the last attempt of each test, or all attempts;
        with the number of tests in each status, and of flaky ones."""
        return Pages(
            self._transport,
            f"/api/agent-runs/{run_id}/test-results",
            filters(
                status=status, test_type=test_type, attempts=attempts, limit=limit, cursor=cursor
            ),
            TestResultList,
            lambda page: page.test_results,
        )

    @operation("getTestHistory")
    def history(
        self,
        project_id: int,
        *,
        test_name: str | None = None,
        test_type: str | None = None,
        runs: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[TestHistory, TestHistoryList]:
        """The tests in the project's latest runs, by type and name: how often each passed
        and failed, and for one `test_name` also its result in each run."""
        return Pages(
            self._transport,
            f"/api/projects/{project_id}/test-history",
            filters(
                test_name=test_name, test_type=test_type, runs=runs, limit=limit, cursor=cursor
            ),
            TestHistoryList,
            lambda page: page.tests,
        )
