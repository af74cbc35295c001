"""Test results: taking them in, and what they say within a run and over many."""

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
from backend.services.runs.access import existing_run, writable_run
from backend.services.runs.flakiness import merge
from models import AgentRun, TestResult, TestStatus

_HISTORY_BYTES = 32 * 1024 * 1024
"""Results of all runs together that a page of a history is made from."""


class TestResults(UseCases):
    """Storing and reading test results."""

    @unit_of_work
    async def add(self, run_id: int, upload: TestResultUpload) -> TestResult:
        """The stored result; it takes the place of the run's earlier one of the same test.

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
        """How many results were new, changed an earlier one, and were there already the same: all
        are stored, or none. Of two of the same test the later one counts.

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
        """One page of a run's results, newest first, and the summary of all of them, of one moment.

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
        """One page of the tests in the project's last `runs` runs, by type and name, each with how
        it went in them; run by run if `test_name` is given.

        Raises `ProjectNotFound` and `BadCursor`.
        """
        bound = (project_id, test_name, test_type, runs)
        listing = self.kit.listing("test_history", *bound, cursor=cursor)
        filter = HistoryFilter(test_name, test_type)
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            looked_at = await repositories.test_results.last_runs(project_id, runs)
            # A page of each run holds all tests of the page of them all, so that a page costs the
            # same at any depth, however many tests there are.
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
            "test_results.stored",
            target=f"agent_runs/{run.id}/test_results",
            project_id=run.project_id,
            fields=["test_results"],
        )
