"""Use cases for test results: storing them, and reading them for one run or over many."""

from backend.repositories import Repositories
from backend.repositories.test_result_repository import HistoryFilter, ResultFilter
from backend.schemas.results import (
    TestHistoryList,
    TestResultBatch,
    TestResultCounts,
    TestResultList,
    TestResultUpload,
)
from backend.services.base import UseCases, existing_project, unit_of_work
from backend.services.kinds import Kind
from backend.services.runs.access import existing_run, writable_run
from backend.services.runs.flakiness import merge
from models import AgentRun, TestResult, TestStatus

_HISTORY_BYTES = 32 * 1024 * 1024
"""The most bytes of results, over all runs, that a page of a history is made from."""


class TestResults(UseCases):
    """Storing and reading test results."""

    @unit_of_work
    async def add(self, run_id: int, upload: TestResultUpload) -> TestResult:
        """Store a result, and return it. It replaces the run's earlier result of the same test.

        Raises `AgentRunNotFound` and `LeaseLost`.
        """
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, upload.lease_token)
            data = upload.model_dump(exclude={"lease_token"})
            if await repositories.test_results.upsert(run_id, [data]):
                await self._record_results(repositories, run)
            stored = await repositories.test_results.get_by_test(
                run_id, upload.test_type, upload.test_name
            )
        assert stored is not None  # noqa: S101 - the statement before put it there
        return stored

    @unit_of_work
    async def add_all(self, run_id: int, batch: TestResultBatch) -> TestResultCounts:
        """Store all results, or none. Returns how many were created, updated and unchanged. If a
        test occurs twice, the later result counts.

        Raises `AgentRunNotFound` and `LeaseLost`.
        """
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, batch.lease_token)
            before = sum((await repositories.test_results.summary(run_id)).values())
            changed = await repositories.test_results.upsert(
                run_id, [result.model_dump() for result in batch.test_results]
            )
            created = sum((await repositories.test_results.summary(run_id)).values()) - before
            if changed:
                await self._record_results(repositories, run)
        return TestResultCounts(
            created=created,
            updated=changed - created,
            unchanged=len(batch.test_results) - changed,
        )

    @unit_of_work(read_only=True)
    async def page(
        self,
        run_id: int,
        *,
        statuses: tuple[TestStatus, ...] = (),
        test_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> TestResultList:
        """One page of a run's results, newest first, and the summary of all, from one snapshot.

        Raises `AgentRunNotFound` and `BadCursor`.
        """
        listing = self.kit.listing("test_results", run_id, statuses, test_type, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_run(repositories, run_id)
            page = await repositories.test_results.page(
                run_id, ResultFilter(statuses, test_type), limit=limit, after=listing.after
            )
            summary = await repositories.test_results.summary(run_id)
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
