"""Secrets that are set while the service remembers their rows as it committed them."""

import sqlite3
from collections.abc import Callable

import pytest

from backend.repositories.guarded_kinds import PROJECTS, SECRETS
from backend.repositories.project_secrets_repository import SecretRow
from backend.services import committed_rows
from backend.services.committed_rows import CommittedRows
from tests.guard.world import EARLIER, Row, Running, World, outside, put, row_of, running
from tests.support.http import service_of

BULK = "/api/projects/1/secrets"
KEY = "project_id = 1 AND key_name = 'KEY'"
DELETE = f"DELETE FROM project_secrets WHERE {KEY}"  # noqa: S608
Write = Callable[[sqlite3.Connection, Row], None]


def _set(column: str, value: object) -> Write:
    def write(db: sqlite3.Connection, _: Row) -> None:
        db.execute(f"UPDATE project_secrets SET {column} = ? WHERE {KEY}", (value,))  # noqa: S608

    return write


def _put_back(db: sqlite3.Connection, earlier: Row) -> None:
    put(db, "project_secrets", earlier)


def _put_back_as_newest(db: sqlite3.Connection, earlier: Row) -> None:
    put(db, "project_secrets", earlier, version=earlier["version"] + 1)


def _under_another_id(db: sqlite3.Connection, _: Row) -> None:
    row = row_of(db, "project_secrets", KEY)
    db.execute(DELETE)
    put(db, "project_secrets", row, id=77, ciphertext="sr1")


def _deleted(db: sqlite3.Connection, _: Row) -> None:
    db.execute(DELETE)


FORGERIES: dict[str, Write] = {
    "an earlier row": _put_back,
    "an earlier row with the newest version": _put_back_as_newest,
    "another ciphertext": _set("ciphertext", "sr1:A256GCM:p1:AAAA"),
    "a ciphertext that is no text": _set("ciphertext", "\0"),
    "another version": _set("version", 9),
    "another project key": _set("project_key_id", 2),
    "another id": _set("id", 77),
    "another id and ciphertext": _under_another_id,
    "a time of creation": _set("created_at", EARLIER),
    "a time of change": _set("updated_at", EARLIER),
    "no row": _deleted,
}


async def _set_all(service: Running, **values: str) -> dict[str, int]:
    secrets = [{"key": key, "value": value} for key, value in values.items()]
    answer = await service.client.put(BULK, json={"secrets": secrets})
    assert answer.is_success, answer.text
    counts: dict[str, int] = answer.json()
    return counts


def _remembered(service: Running) -> dict[str, SecretRow]:
    return dict(service_of(service.app).kit.audit.rows.of(1))


def _stored(world: World) -> dict[str, tuple[object, ...]]:
    with outside(world.database) as db:
        rows = db.execute(
            f"SELECT {', '.join(SECRETS.columns)} FROM project_secrets WHERE project_id = 1"  # noqa: S608
        ).fetchall()
    return {row["key_name"]: tuple(row) for row in rows}


@pytest.mark.parametrize("value", ["a newer value", "a new value"])
@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_row_is_replaced(world: World, name: str, value: str) -> None:
    async with running(world) as service:
        await _set_all(service, KEY="a value", OTHER="another value")
        world.keep("KEY", "project_secrets", KEY)
        await _set_all(service, KEY="a new value")
        version = _remembered(service)["KEY"].version
        with outside(world.database) as db:
            FORGERIES[name](db, world.rows["KEY"])
        counts = await _set_all(service, KEY=value, OTHER="another value")
        changed = "created" if name == "no row" else "updated"
        assert counts == {"created": 0, "updated": 0, "unchanged": 1} | {changed: 1}
        revealed = (await service.client.get(f"{BULK}/KEY/value")).json()
        assert (revealed["value"], revealed["version"]) == (value, version + 1)
        assert service.faults() == []
        remembered = _remembered(service)
        assert {key: _stored(world)[key] for key in remembered} == remembered


async def test_the_remembered_rows_are_those_that_are_stored(world: World) -> None:
    async with running(world) as service:
        client = service.client
        assert _remembered(service) == {}
        await _set_all(service, KEY="a value", OTHER="another value", NEW="a third")
        await client.put(f"{BULK}/KEY", json={"value": "set alone"})
        await client.post(BULK, json={"key": "ALONE", "value": "a fourth"})
        stored = _stored(world)
        keys = ("KEY", "OTHER", "NEW", "ALONE")
        assert _remembered(service) == {key: stored[key] for key in keys}
        assert (await client.delete(f"{BULK}/NEW")).is_success
        assert sorted(_remembered(service)) == ["ALONE", "KEY", "OTHER"]
        assert (await client.delete("/api/projects/1", params={"purge": "true"})).is_success
        assert _remembered(service) == {}


async def test_a_value_that_was_refused_is_not_remembered(world: World) -> None:
    async with running(world) as service:
        await _set_all(service, KEY="a value")
        before = _remembered(service)
        secrets = [
            {"key": "KEY", "value": "another"},
            {"key": "ABSENT", "value": None, "version": 1},
        ]
        refused = await service.client.put(BULK, json={"secrets": secrets})
        assert refused.status_code == 422
        assert _remembered(service) == before


def _values(project_id: int, key: str, ciphertext: str = "sr1") -> SecretRow:
    return SecretRow(1, project_id, 1, key, ciphertext, EARLIER, EARLIER, 1, "system")


def _target(project_id: int, key: str) -> str:
    return f"projects/{project_id}/secrets/{key}"


def test_a_project_that_is_purged_in_the_same_transaction_is_forgotten() -> None:
    rows = CommittedRows()
    rows.follow([(PROJECTS, "projects/1", None), (SECRETS, _target(1, "A"), _values(1, "A"))])
    assert rows.of(1) == {}


def test_a_long_value_is_not_remembered_and_neither_is_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committed_rows, "_LONGEST_CIPHERTEXT", 10)
    rows = CommittedRows()
    rows.follow([(SECRETS, _target(1, "A"), _values(1, "A"))])
    assert sorted(rows.of(1)) == ["A"]
    rows.follow([(SECRETS, _target(1, "A"), _values(1, "A", "x" * 11))])
    assert rows.of(1) == {}


def test_no_more_rows_are_remembered_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed_rows, "_MOST_ROWS", 4)
    rows = CommittedRows()
    for project_id in (1, 2, 3):
        for key in ("A", "B", "A"):
            values = _values(project_id, key)
            rows.follow([(SECRETS, _target(project_id, key), values)])
    assert [sorted(rows.of(id)) for id in (1, 2, 3)] == [[], ["A", "B"], ["A", "B"]]
    rows.follow([(SECRETS, _target(2, "A"), None), (SECRETS, _target(9, "A"), None)])
    rows.follow([(SECRETS, _target(4, "A"), _values(4, "A"))])
    assert [sorted(rows.of(id)) for id in (2, 3, 4)] == [["B"], ["A", "B"], ["A"]]
