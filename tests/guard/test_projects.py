"""A project whose row was written from outside can't be changed or followed, until it is replaced
or purged."""

import io
import sqlite3
from collections.abc import Callable

import pytest

from backend.errors import ChangedOutside, ProjectExists
from backend.schemas.projects import ProjectDocument
from tests.guard.world import EARLIER, World, outside, put, running
from tests.support.http import problem, service_of

Write = Callable[[sqlite3.Connection, World], None]
PATH = "/api/projects/1"
WHOLE = {
    "name": "new",
    "github_owner": "acme",
    "github_repo": "first",
    "status": "active",
    "webhook_url": None,
    "auto_merge_enabled": False,
    "auto_confirm_plans": False,
}
EVIL = "https://evil.example/"


def _set(column: str, value: object) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
        db.execute(f"UPDATE projects SET {column} = ? WHERE id = 1", (value,))  # noqa: S608

    return write


def _back(**changes: object) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:
        row = {**world.rows["early project"], **changes}
        columns = ", ".join(f"{name} = ?" for name in row)
        db.execute(f"UPDATE projects SET {columns} WHERE id = 1", tuple(row.values()))  # noqa: S608

    return write


def _repository(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute(
        "UPDATE projects SET github_owner = 'evil', owner_key = 'evil', github_repo = 'r',"
        " repo_key = 'r' WHERE id = 1"
    )


def _without_entries(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute("DELETE FROM audit_entries WHERE target = 'projects/1'")


def _entry_of_another(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    """The digest of another project in the newest entry."""
    db.execute(
        "UPDATE audit_entries SET digest = (SELECT digest FROM audit_entries"
        " WHERE target = 'projects/2' AND version = 1) WHERE target = 'projects/1'"
    )


DELETED = _set("status", "deleted")
"""Runs and exports leave such a project out."""
FORGERIES: list[tuple[str, Write]] = [
    ("repository", _repository),
    ("owner", _set("github_owner", "evil")),
    ("webhook URL", _set("webhook_url", EVIL)),
    ("no webhook URL", _set("webhook_url", None)),
    ("archived", _set("status", "archived")),
    ("deleted", DELETED),
    ("name", _set("name", "evil")),
    ("merging", _set("auto_merge_enabled", 1)),
    ("confirming", _set("auto_confirm_plans", 1)),
    ("version", _set("version", 1)),
    ("largest version", _set("version", 2**63 - 1)),
    ("time of creation", _set("created_at", EARLIER)),
    ("time of change", _set("updated_at", EARLIER)),
    ("an earlier version", _back()),
    ("an earlier version with the newest number", _back(version=2)),
    ("without entries", _without_entries),
    ("the entry of another", _entry_of_another),
]
FORGED = pytest.mark.parametrize("write", [pytest.param(write, id=id) for id, write in FORGERIES])
WITH_RECORD = (_without_entries, _entry_of_another)


@FORGED
async def test_it_can_not_be_changed_or_followed_until_it_is_replaced(
    world: World, write: Write, log: io.StringIO
) -> None:
    with outside(world.database) as db:
        write(db, world)
    async with running(world) as service:
        client = service.client
        await service.check_verify()
        problem(await client.patch(PATH, json={"name": "new"}), "changed_outside")
        problem(await client.delete(PATH), "changed_outside")
        problem(await client.post(f"{PATH}/restore"), "changed_outside")
        started = await client.post("/api/agent-runs/1/transitions", json={"to": "running"})
        # Nothing that belongs to a deleted project changes, however it became so.
        problem(started, "project_not_found" if write is DELETED else "changed_outside")
        claimed = await client.post("/api/agent-runs/claim", json={"worker": "w", "count": 9})
        assert [run["project_id"] for run in claimed.json()["agent_runs"]] == [2]
        if write is not DELETED:
            assert "runs of project 1 are not given to workers" in log.getvalue()
            with pytest.raises(ChangedOutside):
                await service_of(service.app).documents.export(limit=100, after=None)

        replaced = await client.patch(PATH, json=WHOLE)
        assert replaced.status_code == 200, replaced.text
        shown = (await client.get(PATH)).json()
        assert {name: shown[name] for name in WHOLE} == WHOLE
        if write not in WITH_RECORD:
            assert shown["version"] == 3
            assert service.faults() == []
        claimed = await client.post("/api/agent-runs/claim", json={"worker": "w"})
        assert claimed.json()["project_id"] == 1
        assert (await client.delete(PATH)).status_code == 204
        assert (await client.post(f"{PATH}/restore")).status_code == 200


@FORGED
async def test_it_can_be_purged(world: World, write: Write) -> None:
    async with running(world) as service:
        with outside(world.database) as db:
            write(db, world)
        problem(await service.client.patch(PATH, json={"name": "new"}), "changed_outside")
        purged = await service.client.delete(PATH, params={"purge": "true"})
        assert purged.status_code == 204
        assert [fault for fault in service.faults() if " after " not in fault] == []
        problem(await service.client.get(PATH), "project_not_found")


async def test_a_deletion_that_was_undone_is_found(world: World) -> None:
    with outside(world.database) as db:
        db.execute("UPDATE projects SET status = 'active' WHERE id = 4")
    async with running(world) as service:
        path = "/api/projects/4"
        problem(await service.client.patch(path, json={"name": "new"}), "changed_outside")
        problem(await service.client.delete(path), "changed_outside")
        refused = await service.client.patch(path, json={**WHOLE, "status": "deleted"})
        problem(refused, "validation_failed")


async def test_an_import_reaches_no_project_that_was_given_the_repository(world: World) -> None:
    """Secrets of a document go to the project that has its repository in the record."""
    document = {**WHOLE, "settings": {}, "secrets": {"NEW": "a value of the first"}}
    del document["name"]
    body = ProjectDocument.model_validate({**document, "name": "first"})
    for columns in ("owner_key, repo_key", "github_owner, github_repo, owner_key, repo_key"):
        with outside(world.database) as db:
            db.execute("UPDATE projects SET owner_key = 'x', repo_key = 'x' WHERE id = 1")
            for column in columns.split(", "):
                value = "acme" if "owner" in column else "first"
                db.execute(f"UPDATE projects SET {column} = ? WHERE id = 2", (value,))  # noqa: S608
        async with running(world) as service:
            with pytest.raises((ChangedOutside, ProjectExists)):
                await service_of(service.app).documents.import_one(body)
            answer = await service.client.get("/api/projects/2/secrets")
            assert [secret["key"] for secret in answer.json()["secrets"]] == ["KEY"]


async def test_a_project_that_is_not_in_the_table_any_more_can_be_purged(world: World) -> None:
    with outside(world.database) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("DELETE FROM projects WHERE id = 1")
    async with running(world) as service:
        problem(await service.client.get(PATH), "project_not_found")
        assert await service.named_by_verify() >= {"projects/1", "projects/1/configuration"}
        purged = await service.client.delete(PATH, params={"purge": "true"})
        assert purged.status_code == 204
        assert service.faults() == []
        assert await service.named_by_verify() == set()
        again = await service.client.delete(PATH, params={"purge": "true"})
        problem(again, "project_not_found")


async def test_what_stayed_of_a_project_without_its_row_goes_with_the_purge(world: World) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM projects WHERE id = 1")
        assert db.execute("PRAGMA foreign_key_check").fetchall() != []
    async with running(world) as service:
        purged = await service.client.delete(PATH, params={"purge": "true"})
        assert purged.status_code == 204
        assert await service.named_by_verify() == set()
    with outside(world.database) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_projects_with_secrets_are_created_though_all_counters_were_turned_back(
    world: World,
) -> None:
    with outside(world.database) as db:
        db.execute("UPDATE sqlite_sequence SET seq = 0")
    async with running(world) as service:
        secrets = [{"key": "KEY", "value": "made up"}]
        body = {**WHOLE, "github_repo": "another", "secrets": secrets}
        made = await service.client.post("/api/projects", json=body)
        assert made.status_code == 201
        assert service.faults() == []


async def test_an_inserted_project_can_be_purged(world: World) -> None:
    with outside(world.database) as db:
        row = world.rows["early project"]
        put(db, "projects", row, id=77, github_repo="x", repo_key="x", twin=0)
    async with running(world) as service:
        assert service.faults() == ["projects/77 has no entry"]
        path = "/api/projects/77"
        problem(await service.client.patch(path, json={"name": "new"}), "changed_outside")
        assert (await service.client.delete(path, params={"purge": "true"})).status_code == 204
        assert service.faults() == []


async def test_a_purged_project_that_was_put_back_can_not_be_replaced(world: World) -> None:
    with outside(world.database) as db:
        for table in ("projects", "project_keys", "project_settings", "project_secrets"):
            put(db, table, world.rows[f"purged {table}"])
    async with running(world) as service:
        client, path = service.client, "/api/projects/3"
        for _ in range(2):
            answer = await client.patch(path, json={**WHOLE, "github_repo": "purged"})
            assert "purge" in problem(answer, "changed_outside")["detail"]
        # Otherwise the secrets that the purge removed would be genuine again.
        problem(await client.get(f"{path}/secrets/KEY/value"), "secret_unreadable")
        problem(await client.get(f"{path}/configuration"), "changed_outside")
