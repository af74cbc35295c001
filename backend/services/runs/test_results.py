"""Use cases for test results: storing them, and reading them for one run or over many."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.repositories import Repositories
from backend.repositories.test_attempt_repository import Content, ResultKey, UploadedResult
from backend.repositories.test_result_repository import HistoryFilter, ResultFilter
from backend.schemas.results import (
    TestHistoryList,
    TestResultBatch,
    TestResultCounts,
    TestResultCreate,
    TestResultList,
    TestResultUpload,
)
from backend.services.base import UseCases, existing_project, unit_of_work
from backend.services.kinds import Kind
from backend.services.redaction.redaction import Redaction
from backend.services.runs.access import existing_run, writable_run
from backend.services.runs.attempts import apply
from backend.services.runs.flakiness import merge
from models import MAX_TEXT, AgentRun, TestResult, TestStatus

_HISTORY_BYTES = 32 * 1024 * 1024
"""The most bytes of results, over all runs, that a page of a history is made from."""


@dataclass(frozen=True, slots=True)
class TestResultFile:
    """The results of a file that a tool wrote."""

    __test__ = False

    digest: bytes
    """32 bytes that tell it from files with other bytes, and from the same for another type."""
    results: list[UploadedResult]


def uploaded_result(result: TestResultCreate) -> UploadedResult:
    """A result that a client sent, as it is stored."""
    return UploadedResult(
        ResultKey(result.test_type, result.test_name),
        result.attempt,
        Content(
            result.status.value,
            result.duration_seconds,
            result.result_data,
            result.error_message,
            result.screenshot_path,
            result.log_path,
        ),
    )


def _redacted(redaction: Redaction, upload: UploadedResult) -> UploadedResult:
    content = upload.content
    data = redaction.json_text(content.result_data)
    message = redaction.text(content.error_message, MAX_TEXT)
    if data is content.result_data and message is content.error_message:
        return upload
    return upload._replace(content=content._replace(result_data=data, error_message=message))


class TestResults(UseCases):
    """Storing and reading test results."""

    @unit_of_work
    async def add(self, run_id: int, upload: TestResultUpload) -> TestResult:
        """Store a result, and return its attempt.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, and `LeaseLost`.
        """
        uploaded = uploaded_result(upload)
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, upload.lease_token)
            await self._store(repositories, run, [uploaded])
            results, test = repositories.test_results, uploaded.test
            stored = await results.get_by_test(run_id, test)
            assert stored is not None  # noqa: S101 - the statements before put it there
            if upload.attempt is not None and upload.attempt != stored.attempt:
                stored = await results.get_attempt(run_id, test, upload.attempt)
                assert stored is not None  # noqa: S101 - the same
        return stored

    @unit_of_work
    async def add_all(self, run_id: int, batch: TestResultBatch) -> TestResultCounts:
        """Store all results, or none, as if they came one after another. Returns how many were
        created, updated and unchanged.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, and `LeaseLost`.
        """
        uploads = [uploaded_result(result) for result in batch.test_results]
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, batch.lease_token)
            return await self._store(repositories, run, uploads)

    @unit_of_work
    async def add_file(
        self, run_id: int, file: TestResultFile, *, lease_token: str | None
    ) -> TestResultCounts:
        """Store all results of a file, or none. Several results of a test are an attempt each. A
        file that was sent to the run before changes nothing.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, and `LeaseLost`.
        """
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, lease_token)
            if not await repositories.test_attempts.add_file(run_id, file.digest):
                return TestResultCounts(created=0, updated=0, unchanged=len(file.results))
            return await self._store(repositories, run, file.results, each_is_an_attempt=True)

    async def _store(
        self,
        repositories: Repositories,
        run: AgentRun,
        uploads: Sequence[UploadedResult],
        *,
        each_is_an_attempt: bool = False,
    ) -> TestResultCounts:
        redaction = await self.kit.redactor.begin(repositories, run.project_id)
        if redaction:
            # Before they are compared with what is stored.
            uploads = [_redacted(redaction, upload) for upload in uploads]
        stored = await repositories.test_attempts.stored(run.id, uploads)
        changes, counts = apply(uploads, stored, each_is_an_attempt=each_is_an_attempt)
        if counts.created or counts.updated:
            await repositories.test_attempts.write(run.id, changes)
            await self._record_results(repositories, run)
            await self.kit.redactor.record(
                repositories,
                run.project_id,
                redaction.take_found(),
                f"agent-runs/{run.id}/test-results",
            )
        return counts

    @unit_of_work(read_only=True)
    async def page(
        self,
        run_id: int,
        *,
        statuses: tuple[TestStatus, ...] = (),
        test_type: str | None = None,
        all_attempts: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> TestResultList:
        """One page of a run's results, newest first, and the summary of all, from one snapshot:
        the last attempt of each test, or all attempts.

        Raises `AgentRunNotFound` and `BadCursor`.
        """
        bound = (run_id, statuses, test_type, all_attempts)
        listing = self.kit.listing("test_results", *bound, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_run(repositories, run_id)
            page = await repositories.test_results.page(
                run_id,
                ResultFilter(statuses, test_type, all_attempts),
                limit=limit,
                after=listing.after,
            )
            counted = await repositories.test_results.summary(run_id)
        summary = {"flaky": counted.flaky} | counted.statuses
        return listing.answer(TestResultList, page, test_results=page.items, summary=summary)

    @unit_of_work(read_only=True)
    async def history(
        self,
        project_id: int,
        *,
        test_name: str | None = None,
        test_type: str | None = None,
        runs: int = 20,
        limit: int = 50,
        cursor: str | None = None,
    ) -> TestHistoryList:
        """One page of the tests in the project's last `runs` runs, by type and name, each with its
        history in these runs. With `test_name`, the history lists the result in each run.

        Raises `ProjectNotFound` and `BadCursor`.
        """
        bound = (project_id, test_name, test_type, runs)
        listing = self.kit.listing("test_history", *bound, cursor=cursor)
        filter = HistoryFilter(test_name, test_type)
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            looked_at = await repositories.test_results.last_runs(project_id, runs)
            # The first tests of each run include all tests of the page, so that a page costs the
            # same at any depth and for any number of tests.
            outcomes = [
                await repositories.test_results.outcomes(
                    run.id,
                    filter,
                    limit=limit,
                    after=listing.after,
                    most_bytes=_HISTORY_BYTES // len(looked_at),
                )
                for run in looked_at
            ]
        page = merge(looked_at, outcomes, limit, with_results=test_name is not None)
        return listing.answer(TestHistoryList, page, runs=len(looked_at), tests=page.items)

    async def _record_results(self, repositories: Repositories, run: AgentRun) -> None:
        await self.kit.audit.record(
            repositories,
            Kind.TEST_RESULTS_STORED,
            target=f"agent_runs/{run.id}/test_results",
            project_id=run.project_id,
            fields=["test_results"],
        )
