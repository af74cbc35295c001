"""What a test's results say over several runs."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from backend.repositories.paging import Position
from backend.repositories.test_result_repository import Outcome, RunNumber
from backend.schemas.results import TestHistory, TestOutcome
from models import TestStatus

_PASSED = TestStatus.PASSED.value
_FAILED = frozenset({TestStatus.FAILED.value, TestStatus.ERROR.value})

_InRun = tuple[RunNumber, Outcome]


def merge(
    runs: Sequence[RunNumber],
    outcomes: Sequence[Sequence[Outcome]],
    limit: int,
    *,
    with_results: bool = False,
) -> tuple[list[TestHistory], Position | None]:
    """The histories of the first `limit` tests by type and name, and the position of the last of
    them if there are more.

    `outcomes` has for each of `runs`, which come newest first, its first `limit` tests and one
    more in that order.
    """
    by_test: dict[tuple[str, str], list[_InRun]] = {}
    for run, of_run in zip(runs, outcomes, strict=True):
        for outcome in of_run:
            by_test.setdefault(outcome[:2], []).append((run, outcome))
    tests = sorted(by_test)
    page = tests[:limit]
    return [_history(test, by_test[test], with_results) for test in page], (
        page[-1] if len(tests) > limit else None
    )


def flips(statuses: Iterable[str]) -> int:
    """How often passing and failing follow one another. A test that was skipped, or is not through
    yet, says neither."""
    decided = [status == _PASSED for status in statuses if status == _PASSED or status in _FAILED]
    return sum(first != second for first, second in pairwise(decided))


def _history(test: tuple[str, str], in_runs: list[_InRun], with_results: bool) -> TestHistory:
    statuses = [outcome.status for _, outcome in in_runs]
    return TestHistory.model_construct(
        test_type=test[0],
        test_name=test[1],
        passed=statuses.count(_PASSED),
        failed=sum(status in _FAILED for status in statuses),
        flips=flips(statuses),
        results=[_result(*item) for item in in_runs] if with_results else None,
    )


def _result(run: RunNumber, outcome: Outcome) -> TestOutcome:
    return TestOutcome.model_construct(
        agent_run_id=run.id,
        run_number=run.run_number,
        status=TestStatus(outcome.status),
        duration_seconds=outcome.duration_seconds,
        updated_at=outcome.updated_at,
    )
