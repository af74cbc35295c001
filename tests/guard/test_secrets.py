"""A secret whose row was written from outside is unreadable, until it gets a new value."""

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guard.world import EARLIER, VALUES, Running, World, fill, outside, put, row_of, running
from tests.support.http import new_project, problem, service_of

Write = Callable[[sqlite3.Connection, World], None]
SECRETS = "/api/projects/1/secrets"


def _set(column: str, value: object, key: str = "KEY") -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
        db.execute(
            f"UPDATE project_secrets SET {column} = ?"  # noqa: S608
            " WHERE project_id = 1 AND key_name = ?",
            (value, key),
        )

    return write


def _back(name: str, **changes: object) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:
        put(db, "project_secrets", world.rows[name], **changes)

    return write


def _swapped(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    """The ciphertexts of two secrets, swapped."""
    rows = {
        key: row_of(db, "project_secrets", f"project_id = 1 AND key_name = '{key}'")
        for key in ("KEY", "OTHER")
    }
    put(db, "project_secrets", rows["KEY"], ciphertext=rows["OTHER"]["ciphertext"])
    put(db, "project_secrets", rows["OTHER"], ciphertext=rows["KEY"]["ciphertext"])


def _of_another_project(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    mine = row_of(db, "project_secrets", "project_id = 1 AND key_name = 'KEY'")
    other = row_of(db, "project_secrets", "project_id = 2")
    db.execute("DELETE FROM project_secrets WHERE project_id = 2")
    put(db, "project_secrets", {**other, "project_id": 1, "id": mine["id"]})


def _of_another_project_with_its_key(db: sqlite3.Connection, world: World) -> None:
    _of_another_project(db, world)
    db.execute("DELETE FROM project_keys WHERE project_id = 1")
    db.execute("UPDATE project_keys SET project_id = 1 WHERE project_id = 2")


def _deleted(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute("DELETE FROM project_secrets WHERE project_id = 1 AND key_name = 'KEY'")


def _inserted(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    """The record has no entry of the row."""
    db.execute("DELETE FROM audit_entries WHERE target = 'projects/1/secrets/KEY'")


def _digest_of(version: int) -> Write:
    """The earlier row, and in the newest entry the digest of the earlier one."""

    def write(db: sqlite3.Connection, world: World) -> None:
        _back("secret at version 1")(db, world)
        db.execute(
            "UPDATE audit_entries SET version = ?, digest = (SELECT digest FROM audit_entries"
            " WHERE target = 'projects/1/secrets/KEY' AND version = 1)"
            " WHERE target = 'projects/1/secrets/KEY' AND version = 2",
            (version,),
        )

    return write


def _earlier_entry_again(db: sqlite3.Connection, world: World) -> None:
    """The earlier row, and a copy of its entry at the end."""
    _back("secret at version 1")(db, world)
    entry = row_of(db, "audit_entries", "target = 'projects/1/secrets/KEY' AND version = 1")
    [last] = db.execute("SELECT max(id) FROM audit_entries").fetchone()
    put(db, "audit_entries", entry, id=last + 1)


def _target_changed(db: sqlite3.Connection, world: World) -> None:
    """The entry and the row of another secret, each with this secret's name."""
    _deleted(db, world)
    db.execute("DELETE FROM audit_entries WHERE target = 'projects/1/secrets/KEY'")
    db.execute("UPDATE project_secrets SET key_name = 'KEY' WHERE key_name = 'OTHER'")
    db.execute(
        "UPDATE audit_entries SET target = 'projects/1/secrets/KEY'"
        " WHERE target = 'projects/1/secrets/OTHER'"
    )


FORGERIES: list[tuple[str, str, Write]] = [
    ("an earlier version", "KEY", _back("secret at version 1")),
    ("an earlier version with the newest number", "KEY", _back("secret at version 1", version=2)),
    ("another number of the version", "KEY", _set("version", 3)),
    ("the largest number of a version", "KEY", _set("version", 2**63 - 1)),
    ("an earlier life", "LIFE", _back("secret of an earlier life")),
    (
        "an earlier life with the newest number",
        "LIFE",
        _back("secret of an earlier life", version=2),
    ),
    ("a deleted row that was put back", "GONE", _back("deleted secret")),
    ("a deleted row under another id", "GONE", _back("deleted secret", id=77)),
    ("a deleted row with a higher version", "GONE", _back("deleted secret", version=2)),
    ("swapped ciphertexts", "KEY", _swapped),
    ("a value that is no ciphertext", "KEY", _set("ciphertext", "sr1")),
    ("a value that is no text", "KEY", _set("ciphertext", "\0")),
    ("the key of another project", "KEY", _set("project_key_id", 2)),
    ("a row of another project", "KEY", _of_another_project),
    ("another id", "KEY", _set("id", 77)),
    ("the id zero", "KEY", _set("id", 0)),
    ("a time of creation", "KEY", _set("created_at", EARLIER)),
    ("a time of change", "KEY", _set("updated_at", EARLIER)),
    ("a row that was deleted", "KEY", _deleted),
]
WITH_RECORD: list[tuple[str, str, Write]] = [
    ("a row without an entry", "KEY", _inserted),
    ("an earlier version with its digest", "KEY", _digest_of(2)),
    ("an earlier version with its digest and number", "KEY", _digest_of(1)),
    ("an earlier version with its entry again", "KEY", _earlier_entry_again),
    ("an entry of another secret", "KEY", _target_changed),
]
"""Forgeries of a row and of its entries, which no new value repairs."""
LAST_VERSIONS = {"KEY": 2, "LIFE": 2, "GONE": 1}
FORGED = pytest.mark.parametrize(
    ("key", "write"),
    [pytest.param(key, write, id=id) for id, key, write in FORGERIES + WITH_RECORD],
)


async def _refused(service: Running, key: str) -> None:
    """The secret can't be read, and all else can."""
    client = service.client
    problem(await client.get(f"{SECRETS}/{key}/value"), "secret_unreadable")
    listed = (await client.get(SECRETS)).json()["secrets"]
    full = (await client.get("/api/projects/1/full")).json()["secrets"]
    for secrets in (listed, full):
        assert {secret["status"] for secret in secrets if secret["key"] == key} <= {"unreadable"}
    page = await service_of(service.app).documents.reveal(limit=100, after=None)
    exported = page.documents[0].content
    assert exported["github_repo"] == "first"
    assert key not in exported["secrets"]
    await service.check_verify()


async def _settle_others(service: Running) -> None:
    """Give the other secrets that were forged along with the first one new values."""
    for fault in service.faults():
        path = f"/api/{fault.split()[0]}"
        assert (await service.client.put(path, json={"value": "another"})).is_success


@FORGED
@pytest.mark.parametrize("way", ["put", "bulk", "delete"])
async def test_it_is_unreadable_until_it_is_set_or_deleted(
    world: World, key: str, write: Write, way: str, log: io.StringIO
) -> None:
    with outside(world.database) as db:
        write(db, world)
    async with running(world) as service:
        client, path = service.client, f"{SECRETS}/{key}"
        if way == "put":
            # What is refused before does not depend on the way out.
            await _refused(service, key)
            answer = await client.put(path, json={"value": "a new value"})
        elif way == "bulk":
            body = {"secrets": [{"key": key, "value": "a new value"}]}
            answer = await client.put(SECRETS, json=body)
        else:
            assert (await client.delete(path)).status_code == 204
            problem(await client.get(f"{path}/value"), "secret_not_found")
            answer = await client.post(SECRETS, json={"key": key, "value": "a new value"})
        assert answer.is_success, answer.text
        revealed = (await client.get(f"{path}/value")).json()
        assert revealed["value"] == "a new value"
        if write not in [write for *_, write in WITH_RECORD]:
            assert revealed["version"] == LAST_VERSIONS[key] + 1
            await _settle_others(service)
            assert service.faults() == []
    assert not any(value in log.getvalue() for value in (*VALUES, "a new value"))


@FORGED
async def test_it_is_unreadable_when_it_is_written_while_the_service_runs(
    world: World, key: str, write: Write
) -> None:
    async with running(world) as service:
        await service.client.get(SECRETS)
        await service.client.get("/api/projects/1/full")
        with outside(world.database) as db:
            write(db, world)
        problem(await service.client.get(f"{SECRETS}/{key}/value"), "secret_unreadable")


async def test_a_row_of_another_project_stays_unreadable_with_the_key_of_that_project(
    world: World,
) -> None:
    with outside(world.database) as db:
        _of_another_project_with_its_key(db, world)
    async with running(world) as service:
        await _refused(service, "KEY")
        # Without the project's own key there is no way but a backup.
        refused = await service.client.put(f"{SECRETS}/KEY", json={"value": "a new value"})
        problem(refused, "secret_unreadable")


async def test_a_row_of_another_installation_is_unreadable(
    world: World, tmp_path: Path, made_world: World
) -> None:
    """The same ids, names, versions and master key, but another installation."""
    other = World(made_world.settings.model_copy(update={"data_dir": tmp_path / "other"}))
    other.settings.data_dir.mkdir()
    async with running(other):
        pass
    await fill(other)
    where = "project_id = 1 AND key_name = 'KEY'"
    with outside(other.database) as db:
        secret, key = row_of(db, "project_secrets", where), row_of(db, "project_keys", "id = 1")
        entries = db.execute(
            "SELECT * FROM audit_entries WHERE target = 'projects/1/secrets/KEY'"
        ).fetchall()
    with outside(world.database) as db:
        put(db, "project_secrets", secret)
    async with running(world) as service:
        await _refused(service, "KEY")
    with outside(world.database) as db:
        put(db, "project_keys", key)
        for entry in entries:
            put(db, "audit_entries", dict(entry))
    async with running(world) as service:
        await _refused(service, "KEY")


async def test_rows_of_a_purged_project_can_not_be_put_back_into_a_new_one(world: World) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM projects WHERE id = 4")
        db.execute("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'projects'")
    async with running(world) as service:
        made = await service.client.post("/api/projects", json=new_project())
        assert made.json()["id"] == 5
        for project_id in (3, 5):
            with outside(world.database) as db:
                for table in ("project_keys", "project_secrets"):
                    put(db, table, world.rows[f"purged {table}"], project_id=project_id)
            answer = await service.client.get(f"/api/projects/{project_id}/secrets/KEY/value")
            assert not answer.is_success
            assert VALUES[5] not in answer.text


async def test_a_row_with_the_id_zero_does_not_stand_for_deleted_ones(world: World) -> None:
    with outside(world.database) as db:
        _set("id", 0, "OTHER")(db, world)
    async with running(world) as service:
        path = f"{SECRETS}/KEY"
        assert (await service.client.delete(path)).status_code == 204
        problem(await service.client.get(path), "secret_not_found")
        assert {fault.split()[0] for fault in service.faults()} == {"projects/1/secrets/OTHER"}


async def test_a_purged_project_can_not_be_put_back(world: World, log: io.StringIO) -> None:
    with outside(world.database) as db:
        for table in ("projects", "project_keys", "project_settings", "project_secrets"):
            put(db, table, world.rows[f"purged {table}"])
    async with running(world) as service:
        client, path = service.client, "/api/projects/3"
        problem(await client.get(f"{path}/secrets/KEY/value"), "secret_unreadable")
        [listed] = (await client.get(f"{path}/secrets")).json()["secrets"]
        assert listed["status"] == "unreadable"
        problem(await client.get(f"{path}/configuration"), "changed_outside")
        assert len(service.faults()) == 4
        assert (await client.delete(path, params={"purge": "true"})).status_code == 204
        assert service.faults() == []
    assert VALUES[5] not in log.getvalue()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE project_secrets SET project_key_id = 999 WHERE project_id = 1",
        "DELETE FROM project_keys WHERE project_id = 1",
    ],
)
async def test_secrets_without_the_row_of_their_key_are_listed_and_can_be_set_again(
    world: World, statement: str
) -> None:
    async with running(world) as service:
        before = (await service.client.get(SECRETS)).json()["secrets"]
    with outside(world.database) as db:
        db.execute(statement)
    async with running(world) as service:
        client = service.client
        listed = (await client.get(SECRETS)).json()["secrets"]
        whole = (await client.get("/api/projects/1/full")).json()["secrets"]
        unreadable = [{**secret, "status": "unreadable"} for secret in before]
        assert listed == whole == unreadable
        for secret in before:
            path = f"{SECRETS}/{secret['key']}"
            assert (await client.get(path)).json()["status"] == "unreadable"
            problem(await client.get(f"{path}/value"), "secret_unreadable")
            replaced = await client.put(path, json={"value": "new"})
            assert replaced.json()["version"] == secret["version"] + 1
            assert (await client.get(f"{path}/value")).json()["value"] == "new"
