"""The history of a test's results over several runs."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from backend.repositories.paging import MAX_PAGE_BYTES, Page
from backend.repositories.test_result_repository import Outcome, RunNumber
from backend.schemas.results import TestHistory, TestOutcome
from models import TestStatus

_PASSED = TestStatus.PASSED.value
_FAILED = frozenset({TestStatus.FAILED.value, TestStatus.ERROR.value})

_InRun = tuple[RunNumber, Outcome]


def merge(
    runs: Sequence[RunNumber],
    outcomes: Sequence[Page[Outcome]],
    limit: int,
    *,
    with_results: bool = False,
) -> Page[TestHistory]:
    """The histories of the first `limit` tests by type and name, or of as many as fit an answer.

    `runs` is ordered newest first. `outcomes` has a page for each of them: its first `limit` + 1
    tests by type and name, or fewer where the page ends earlier.
    """
    by_test: dict[tuple[str, str], list[_InRun]] = {}
    for run, of_run in zip(runs, outcomes, strict=True):
        for outcome in of_run.items:
            by_test.setdefault(outcome[:2], []).append((run, outcome))
    tests = sorted(by_test)
    ends = [page.next_position for page in outcomes if page.next_position is not None]
    if ends:
        # Tests after the earliest end are not known for all runs.
        end = min((str(test_type), str(test_name)) for test_type, test_name in ends)
        tests = [test for test in tests if test <= end]
    histories: list[TestHistory] = []
    room = MAX_PAGE_BYTES
    for test in tests[:limit]:
        history = _history(test, by_test[test], with_results)
        room -= len(history.model_dump_json().encode()) + 1 if with_results else 0
        if room < 0 and histories:
            break
        histories.append(history)
    more = bool(ends) or len(histories) < len(tests)
    return Page(histories, tests[len(histories) - 1] if more else None)


def flips(statuses: Iterable[str]) -> int:
    """How often the result changes between passed and failed. Runs in which the test was skipped
    or is unfinished do not count."""
    decided = [status == _PASSED for status in statuses if status == _PASSED or status in _FAILED]
    return sum(first != second for first, second in pairwise(decided))


def _history(test: tuple[str, str], in_runs: list[_InRun], with_results: bool) -> TestHistory:
    statuses = [outcome.status for _, outcome in in_runs]
    return TestHistory.model_construct(
        test_type=test[0],
        test_name=test[1],
        passed=statuses.count(_PASSED),
        failed=sum(status in _FAILED for status in statuses),
        flaky=sum(bool(outcome.flaky) for _, outcome in in_runs),
        flips=flips(statuses),
        results=[_result(*item) for item in in_runs] if with_results else None,
    )


def _result(run: RunNumber, outcome: Outcome) -> TestOutcome:
    return TestOutcome.model_construct(
        agent_run_id=run.id,
        run_number=run.run_number,
        status=TestStatus(outcome.status),
        attempt=outcome.attempt,
        flaky=bool(outcome.flaky),
        duration_seconds=outcome.duration_seconds,
        updated_at=outcome.updated_at,
    )
