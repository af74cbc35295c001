"""Attempts of tests: what a run has of them, and what an upload changes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from database.base import TableAccess
from database.engine import Row
from database.portable_sql import among


class ResultKey(NamedTuple):
    """What identifies a test in a run."""

    test_type: str
    test_name: str


class Content(NamedTuple):
    """What an attempt says, as it is stored."""

    status: str
    duration_seconds: float | None
    result_data: str | None
    error_message: str | None
    screenshot_path: str | None
    log_path: str | None


class UploadedResult(NamedTuple):
    """A result as a client sends it."""

    test: ResultKey
    attempt: int | None
    """`None` if the client leaves it to the service."""
    content: Content


class StoredAttempt(NamedTuple):
    """An attempt that a run has."""

    attempt: int
    is_last: bool
    status: str
    content: Content | None
    """`None` if it differs from that of each result of the upload that it was read for."""


class Place(NamedTuple):
    """An attempt of a test."""

    test: ResultKey
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptChanges:
    """What an upload changes. A test is among `settled` if it has more than one attempt then, or
    one that is not the first; others get only their first attempt, or another content of it."""

    inserted: dict[Place, Content]
    replaced: dict[Place, tuple[Content, bool]]
    """The new contents of attempts, and whether each was the last one before."""
    superseded: list[ResultKey]
    """The tests whose last attempt is followed by another one."""
    settled: dict[ResultKey, tuple[int, bool]]
    """The number of the last attempt then, and whether it was the last one before."""


_INSERT = (
    "INSERT INTO test_results (agent_run_id, test_type, test_name, attempt, is_last, status,"
    " duration_seconds, result_data, error_message, screenshot_path, log_path, created_at,"
    " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_OF_TEST = "agent_run_id = ? AND test_type = ? AND test_name = ?"
# Written out as numbers, because a partial index is used only for a constant.
_REPLACE = {
    was_last: "UPDATE test_results SET status = ?, duration_seconds = ?, result_data = ?,"
    " error_message = ?, screenshot_path = ?, log_path = ?, updated_at = ?, flaky = 0"
    f" WHERE {_OF_TEST} AND attempt = ? AND is_last = {was_last:d}"
    for was_last in (False, True)
}
_SUPERSEDE = f"UPDATE test_results SET is_last = 0, flaky = 0 WHERE {_OF_TEST} AND is_last = 1"
_SETTLE = {
    was_last: "UPDATE test_results SET is_last = 1, flaky = CASE WHEN status = 'passed' AND EXISTS"
    " (SELECT 1 FROM test_results AS earlier WHERE earlier.agent_run_id = test_results.agent_run_id"
    " AND earlier.test_type = test_results.test_type"
    " AND earlier.test_name = test_results.test_name AND earlier.is_last = 0"
    " AND earlier.attempt < test_results.attempt AND earlier.status IN ('failed', 'error'))"
    f" THEN 1 ELSE 0 END WHERE {_OF_TEST} AND attempt = ? AND is_last = {was_last:d}"
    for was_last in (False, True)
}
_TESTS_AT_ONCE = 400
_FEW_CHARACTERS = 1000
"""Texts of an attempt that are read at once: a statement for each attempt takes longer."""
_ARE_FEW = (
    f"coalesce(length(result_data), 0) + coalesce(length(error_message), 0) <= {_FEW_CHARACTERS}"
)
_SHORT = (
    "test_name, attempt, is_last, status, duration_seconds, length(result_data),"
    " length(error_message), screenshot_path, log_path,"
    f" CASE WHEN {_ARE_FEW} THEN result_data END, CASE WHEN {_ARE_FEW} THEN error_message END"
)
_Short = tuple[str, float | None, int | None, int | None, str | None, str | None]


class TestAttemptRepository(TableAccess):
    """The attempts in the table `test_results`, and the table `test_result_files`."""

    __test__ = False

    async def stored(
        self, run_id: int, uploads: Sequence[UploadedResult]
    ) -> dict[ResultKey, list[StoredAttempt]]:
        """The attempts of these tests that an upload may concern: the last one, and those that it
        names. Tests that the run does not have are left out.

        Long texts are read only where an uploaded one is as long, so that not much more is read
        than was uploaded.
        """
        contents: defaultdict[ResultKey, list[Content]] = defaultdict(list)
        named: defaultdict[ResultKey, set[int]] = defaultdict(set)
        for upload in uploads:
            contents[upload.test].append(upload.content)
            if upload.attempt is not None:
                named[upload.test].add(upload.attempt)
        found: defaultdict[ResultKey, list[StoredAttempt]] = defaultdict(list)
        for test_type, names in _by_type(contents):
            for row in await self.db.fetch_all(
                f"SELECT {_SHORT} FROM test_results WHERE agent_run_id = ? AND test_type = ?"
                f" AND is_last = 1 AND {among('test_name', names)}",
                (run_id, test_type, *names),
            ):
                test = ResultKey(test_type, row[0])
                found[test].append(await self._attempt(run_id, test, row, contents[test]))
        for test in [test for test in named if test in found]:
            numbers = sorted(named[test])
            for row in await self.db.fetch_all(
                f"SELECT {_SHORT} FROM test_results WHERE {_OF_TEST}"
                f" AND is_last = 0 AND {among('attempt', numbers)}",
                (run_id, *test, *numbers),
            ):
                found[test].append(await self._attempt(run_id, test, row, contents[test]))
        return dict(found)

    async def _attempt(
        self, run_id: int, test: ResultKey, row: Row, contents: Sequence[Content]
    ) -> StoredAttempt:
        attempt, is_last = row[1], bool(row[2])
        short: _Short = (row[3], row[4], row[5], row[6], row[7], row[8])
        for uploaded in contents:
            if _short(uploaded) == short:
                break
        else:
            return StoredAttempt(attempt, is_last, row[3], None)
        texts: Row | tuple[Any, Any] | None = (row[9], row[10])
        if (row[5] or 0) + (row[6] or 0) > _FEW_CHARACTERS:
            texts = await self.db.fetch_one(
                f"SELECT result_data, error_message FROM test_results WHERE {_OF_TEST}"
                f" AND attempt = ? AND is_last = {is_last:d}",
                (run_id, *test, attempt),
            )
        assert texts is not None  # noqa: S101 - the row was read in this transaction
        content = Content(row[3], row[4], texts[0], texts[1], row[7], row[8])
        return StoredAttempt(attempt, is_last, row[3], content)

    async def write(self, run_id: int, changes: AttemptChanges) -> None:
        """Make the changes, and find out which tests are flaky by them."""
        now = self.now()
        for was_last, sql in _REPLACE.items():
            rows = [
                (*content, now, run_id, *place.test, place.attempt)
                for place, (content, is_last) in changes.replaced.items()
                if is_last is was_last
            ]
            if rows:
                await self.db.execute_many(sql, rows)
        if changes.superseded:
            await self.db.execute_many(_SUPERSEDE, [(run_id, *test) for test in changes.superseded])
        if changes.inserted:
            settled = changes.settled
            await self.db.execute_many(
                _INSERT,
                [
                    (run_id, *test, attempt, int(test not in settled), *content, now, now)
                    for (test, attempt), content in changes.inserted.items()
                ],
            )
        for was_last, sql in _SETTLE.items():
            last = [
                (run_id, *test, attempt)
                for test, (attempt, is_last) in changes.settled.items()
                if is_last is was_last
            ]
            if last:
                await self.db.execute_many(sql, last)

    async def add_file(self, run_id: int, digest: bytes) -> bool:
        """Note that a file with this digest was uploaded to a run. Returns False, and notes
        nothing, if it was before."""
        known = await self.db.fetch_one(
            "SELECT 1 FROM test_result_files WHERE agent_run_id = ? AND digest = ?",
            (run_id, digest),
        )
        if known is not None:
            return False
        await self.db.execute(
            "INSERT INTO test_result_files (agent_run_id, digest, created_at) VALUES (?, ?, ?)",
            (run_id, digest, self.now()),
        )
        return True


def _by_type(tests: dict[ResultKey, list[Content]]) -> Iterator[tuple[str, list[str]]]:
    """The types of the tests, each with up to `_TESTS_AT_ONCE` names at a time."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for test in tests:
        names[test.test_type].append(test.test_name)
    for test_type, of_type in names.items():
        for at in range(0, len(of_type), _TESTS_AT_ONCE):
            yield test_type, of_type[at : at + _TESTS_AT_ONCE]


def _short(content: Content) -> _Short:
    data, message = content.result_data, content.error_message
    return (
        content.status,
        content.duration_seconds,
        len(data) if data is not None else None,
        len(message) if message is not None else None,
        content.screenshot_path,
        content.log_path,
    )
