"""Which attempt of its test an uploaded result is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.errors import InvalidField
from backend.repositories.test_attempt_repository import (
    AttemptChanges,
    Content,
    Place,
    ResultKey,
    StoredAttempt,
    UploadedResult,
)
from backend.schemas.results import MAX_ATTEMPT, TestResultCounts
from models import TestStatus

_UNFINISHED = frozenset({TestStatus.PENDING.value, TestStatus.RUNNING.value})


@dataclass(slots=True)
class _Attempts:
    """The attempts of a test, with those that the upload has made so far."""

    stored_last: int = 0
    """0 if the run has no attempt of the test."""
    last: int = 0
    statuses: dict[int, str] = field(default_factory=dict)
    contents: dict[int, Content | None] = field(default_factory=dict)
    is_uploaded: bool = False

    @classmethod
    def of(cls, stored: Sequence[StoredAttempt]) -> "_Attempts":
        attempts = cls()
        for attempt in stored:
            attempts.statuses[attempt.attempt] = attempt.status
            attempts.contents[attempt.attempt] = attempt.content
            if attempt.is_last:
                attempts.stored_last = attempts.last = attempt.attempt
        return attempts

    def number_for(self, content: Content, *, follows: bool) -> int:
        """The attempt that a result without a number belongs to. With `follows`, it is another
        attempt than the one before it."""
        if not self.last or follows:
            return self.last + 1
        if self.statuses[self.last] in _UNFINISHED or self.contents[self.last] == content:
            return self.last
        return self.last + 1


def apply(
    uploads: Sequence[UploadedResult],
    stored: Mapping[ResultKey, Sequence[StoredAttempt]],
    *,
    each_is_an_attempt: bool = False,
) -> tuple[AttemptChanges, TestResultCounts]:
    """What an upload changes in a run that has these attempts, as if its results came one after
    another, and what becomes of the results.

    A result after an unfinished one completes that attempt, an identical one changes nothing, and
    another one after a final status begins the next attempt. One with a number is that attempt.
    With `each_is_an_attempt`, several results of a test in the upload are an attempt each, even
    if they are identical. Raises `InvalidField` if a test has too many.
    """
    tests: dict[ResultKey, _Attempts] = {}
    inserted: dict[Place, Content] = {}
    replaced: dict[Place, tuple[Content, bool]] = {}
    unchanged = updated = 0
    for test, given, content in uploads:
        attempts = tests.get(test)
        if attempts is None:
            attempts = tests[test] = _Attempts.of(stored.get(test, ()))
        follows = each_is_an_attempt and attempts.is_uploaded
        number = given or attempts.number_for(content, follows=follows)
        if number > MAX_ATTEMPT:
            message = f"a test may have at most {MAX_ATTEMPT} attempts in a run"
            raise InvalidField((), "too_many_attempts", message)
        attempts.is_uploaded = True
        place = Place(test, number)
        if number not in attempts.contents:
            inserted[place] = content
        elif attempts.contents[number] == content:
            unchanged += 1
            continue
        else:
            updated += 1
            if place in inserted:
                inserted[place] = content
            else:
                replaced[place] = content, number == attempts.stored_last
        attempts.contents[number], attempts.statuses[number] = content, content.status
        attempts.last = max(attempts.last, number)
    changed = {place.test: tests[place.test] for place in (*inserted, *replaced)}
    changes = AttemptChanges(
        inserted,
        replaced,
        superseded=[t for t, a in changed.items() if 0 < a.stored_last < a.last],
        settled={t: (a.last, a.last == a.stored_last) for t, a in changed.items() if a.last > 1},
    )
    counts = TestResultCounts(created=len(inserted), updated=updated, unchanged=unchanged)
    return changes, counts
