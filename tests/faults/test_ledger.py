"""The ledger detects each way in which a database can break a promise."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.ledger import ROWS, Ledger, Stored
from tests.faults.writes import RESULTS, SECRET_VALUE, Fate, Kind, Write


def _stored(write: Write, secrets: Write | None = None) -> dict[str, Any]:
    return {
        "name": write.mark,
        "github_repo": write.repository,
        "settings": {"planning_statement": write.statement},
        "secrets": (secrets or write).secrets,
    }


def _wrong(ledger: Ledger, *documents: dict[str, Any]) -> list[str]:
    return list(ledger.wrong_projects(documents))


@pytest.mark.parametrize(
    ("status", "there", "right"),
    [
        (201, True, True),
        (201, False, False),
        (507, False, True),
        (507, True, False),
        (None, True, True),
        (None, False, True),
    ],
)
@pytest.mark.parametrize("kind", [Kind.PROJECT, Kind.LOGS])
def test_what_was_answered_is_what_is_there(
    kind: Kind, status: int | None, there: bool, right: bool
) -> None:
    ledger = Ledger()
    write = ledger.intend(kind)
    if status is not None:
        ledger.settle(write, status)
    if kind is Kind.LOGS:
        wrong = list(ledger.wrong_logs({write.mark: write.messages()} if there else {}))
    else:
        wrong = _wrong(ledger, *[_stored(write)] if there else [])
    assert (wrong == []) is right


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "settings": lambda stored: stored["settings"].update(planning_statement=None),
    "one secret": lambda stored: stored["secrets"].update(BETA="another"),
    "a secret missing": lambda stored: stored["secrets"].pop("BETA"),
    "another name": lambda stored: stored.update(name="another"),
    "another repository": lambda stored: stored.update(github_repo="another"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_half_project_is_told(change: Callable[[dict[str, Any]], Any]) -> None:
    ledger = Ledger()
    write = ledger.intend(Kind.PROJECT)
    ledger.settle(write, 201)
    stored = _stored(write)
    assert _wrong(ledger, stored) == []
    change(stored)
    assert _wrong(ledger, stored)


def test_a_project_that_is_there_twice_is_told() -> None:
    ledger = Ledger()
    write = ledger.intend(Kind.PROJECT)
    assert _wrong(ledger, _stored(write)) == []
    assert _wrong(ledger, _stored(write), _stored(write))


def test_secrets_are_those_of_the_last_write_that_was_acknowledged_or_of_a_later_unknown() -> None:
    ledger = Ledger()
    made = ledger.intend(Kind.PROJECT)
    first, refused, last, unknown = (ledger.intend(Kind.SECRETS, made.repository) for _ in range(4))
    for write, status in ((made, 201), (first, 200), (refused, 503), (last, 200)):
        ledger.settle(write, status)
    assert unknown.fate is Fate.UNKNOWN
    for write, right in ((made, 0), (first, 0), (refused, 0), (last, 1), (unknown, 1)):
        assert (_wrong(ledger, _stored(made, write)) == []) is bool(right), write


def test_values_of_secrets_are_recognised_and_nothing_else_is() -> None:
    write = Ledger().intend(Kind.PROJECT)
    _, _, body = write.request(0)
    assert all(re.search(SECRET_VALUE, value.encode()) for value in write.secrets.values())
    assert body is not None
    del body["secrets"]
    assert not re.search(SECRET_VALUE, repr((body, write.messages())).encode())


def test_logs_are_there_once_and_whole() -> None:
    ledger = Ledger()
    write = ledger.intend(Kind.LOGS)
    messages = write.messages()
    assert list(ledger.wrong_logs({write.mark: messages[::-1]})) == []
    assert list(ledger.wrong_logs({write.mark: messages[1:]}))
    assert list(ledger.wrong_logs({write.mark: messages * 2}))
    assert list(ledger.wrong_logs({"another": messages}))


def _wrong_rows(ledger: Ledger, write: Write, rows: int, entries: int = 1) -> list[str]:
    """The ledger's findings when `rows` rows and `entries` audit entries have the write's mark."""
    found: dict[Kind, dict[str, int]] = {kind: {} for kind in ROWS}
    if rows:
        found[write.kind] = {write.of or write.mark: rows}
    audited = {write.mark: entries} if entries else {}
    return list(ledger.wrong_rows(Stored(found, audited, {"repository"})))


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize(
    ("status", "there", "right"),
    [
        (201, True, True),
        (201, False, False),
        (507, False, True),
        (507, True, False),
        (None, True, True),
        (None, False, True),
    ],
)
def test_of_each_kind_what_was_answered_is_what_is_there(
    kind: Kind, status: int | None, there: bool, right: bool
) -> None:
    ledger = Ledger()
    write = ledger.intend(kind, "repository", of="w000009" if kind is Kind.REVOCATION else "")
    if status is not None:
        ledger.settle(write, status)
    found = _wrong_rows(ledger, write, ROWS[kind] * there, entries=int(there))
    assert (found == []) is right


def test_a_part_of_what_was_written_is_told() -> None:
    ledger = Ledger()
    write = ledger.intend(Kind.RESULTS, "repository")
    assert _wrong_rows(ledger, write, RESULTS) == []
    assert _wrong_rows(ledger, write, RESULTS - 1)


def test_what_is_there_is_in_the_audit_whatever_was_answered() -> None:
    ledger = Ledger()
    write = ledger.intend(Kind.RUN, "repository")
    assert _wrong_rows(ledger, write, 1, entries=1) == []
    assert _wrong_rows(ledger, write, 1, entries=0)
    assert _wrong_rows(ledger, write, 0, entries=1)


def test_rows_that_no_write_made_are_found() -> None:
    write = Write(1, Kind.RUN, "repository")
    assert _wrong_rows(Ledger(), write, 1)


def test_a_claim_that_found_nothing_leaves_nothing() -> None:
    ledger = Ledger()
    write = ledger.intend(Kind.CLAIM, "repository")
    ledger.settle(write, 204)
    assert _wrong_rows(ledger, write, 0, entries=0) == []
    assert _wrong_rows(ledger, write, 1)


@pytest.mark.parametrize("kind", [*ROWS, Kind.PROJECT, Kind.SECRETS, Kind.PURGE])
def test_an_acknowledged_write_that_the_audit_does_not_have_is_told(kind: Kind) -> None:
    ledger = Ledger()
    write = ledger.intend(kind, "repository")
    ledger.settle(write, 200)
    rows = ROWS.get(kind, 0)
    assert _wrong_rows(ledger, write, rows) == []
    assert _wrong_rows(ledger, write, rows, entries=0)


def test_of_a_purged_project_nothing_is_left() -> None:
    ledger = Ledger()
    made = ledger.intend(Kind.PROJECT)
    run = ledger.intend(Kind.RUN, made.repository)
    purge = ledger.intend(Kind.PURGE, made.repository)
    for write in (made, run):
        ledger.settle(write, 201)
    assert _wrong(ledger) == []
    assert _wrong(ledger, _stored(made)) == []
    ledger.settle(purge, 204)
    assert _wrong(ledger) == []
    assert _wrong(ledger, _stored(made))
    entries = dict.fromkeys((made.mark, run.mark, purge.mark), 1)
    none: dict[Kind, dict[str, int]] = {kind: {} for kind in ROWS}
    assert list(ledger.wrong_rows(Stored(none, entries, ()))) == []
    left = {**none, Kind.RUN: {run.mark: 1}}
    assert list(ledger.wrong_rows(Stored(left, entries, ())))


def test_a_project_is_not_gone_because_of_a_purge_that_was_refused() -> None:
    ledger = Ledger()
    made = ledger.intend(Kind.PROJECT)
    purge = ledger.intend(Kind.PURGE, made.repository)
    ledger.settle(made, 201)
    ledger.settle(purge, 503)
    assert _wrong(ledger, _stored(made)) == []
    assert _wrong(ledger)
