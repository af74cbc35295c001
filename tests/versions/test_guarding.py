"""Earlier versions that were changed behind the service's back are found by each use and verify."""

# ruff: noqa: S608 - the names are constants

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.repositories.version_rows import VERSION_KINDS, VersionKind
from config.settings import Settings
from database.connection_manager import DatabaseManager
from tests.guard.world import EARLIER, Running, World, outside, running

SECRET = "/api/projects/1/secrets/KEY"
CONFIGURATION = "/api/projects/1/configuration"
PAGE = (Path(__file__).parents[2] / "docs/security.md").read_text(encoding="utf-8")

Attack = Callable[[sqlite3.Connection], object]


@pytest.fixture
async def world(settings: Settings) -> World:
    """An installation with a secret and a configuration of three versions each."""
    world = World(settings)
    async with running(world) as service:
        client = service.client
        for repo in ("first", "second"):
            body = {"name": repo, "github_owner": "acme", "github_repo": repo}
            assert (await client.post("/api/projects", json=body)).is_success
        for text in ("first", "second", "third"):
            await done(client.put(SECRET, json={"value": text}))
        for text in ("second", "third"):
            await done(client.patch(CONFIGURATION, json={"setup_commands": text}))
        run = {"project_id": 1, "target_text": "t"}
        await done(client.post("/api/agent-runs", json=run))
        await done(client.patch(CONFIGURATION, json={"setup_commands": "fourth"}))
    return world


async def done(answer: Any) -> Any:
    response: httpx.Response = await answer
    assert response.is_success, response.text
    return response.json() if response.content else None


@asynccontextmanager
async def attacked(world: World, *statements: str) -> AsyncIterator[Running]:
    with outside(world.database) as db:
        for statement in statements:
            assert db.execute(statement).rowcount
    async with running(world) as service:
        yield service


def test_the_page_names_the_columns_of_every_mac() -> None:
    for kind in VERSION_KINDS:
        assert f"| `{kind.table}` | {', '.join(f'`{name}`' for name in kind.columns)} |" in PAGE


@pytest.mark.parametrize("kind", VERSION_KINDS, ids=lambda kind: kind.table)
def test_a_mac_covers_every_column(kind: VersionKind, manager: DatabaseManager) -> None:
    info = manager.execute_query(f"PRAGMA table_info({kind.table})")
    assert {column["name"] for column in info} == {"id", "mac", *kind.columns}


@pytest.mark.parametrize(
    "change",
    [
        "ciphertext = (SELECT ciphertext FROM project_secrets)",
        "ciphertext = (SELECT ciphertext FROM secret_versions WHERE version = 1)",
        "actor = 'somebody'",
        "redact = 0",
        "updated_at = '2020-01-01T00:00:00.000000Z'",
        "deleted_at = '2020-01-01T00:00:00.000000Z'",
        "mac = 'sv1:' || mac",
    ],
)
async def test_a_changed_version_of_a_secret_is_unreadable(world: World, change: str) -> None:
    async with attacked(world, f"UPDATE secret_versions SET {change} WHERE version = 2") as service:
        client = service.client
        listed = (await done(client.get(f"{SECRET}/versions")))["versions"]
        assert [one["status"] for one in listed] == ["ok", "unreadable", "ok"]
        revealed = await client.get(f"{SECRET}/versions/2/value")
        assert revealed.json()["code"] == "secret_unreadable"
        rolled = await client.post(f"{SECRET}/rollback", json={"version": 2})
        assert rolled.json()["code"] == "secret_unreadable"
        assert await service.named_by_verify() == {"projects/1/secrets/KEY/versions/2"}
        assert (await done(client.get(f"{SECRET}/versions/1/value")))["value"] == "first"
        # It can be destroyed.
        await done(client.delete(f"{SECRET}/versions/2"))
        assert await service.named_by_verify() == set()


@pytest.mark.parametrize(
    "change",
    [
        "setup_commands = 'curl evil'",
        "planning_statement = ''",
        "fields = '[]'",
        "actor = 'x'",
        "branch_name = 'm'",
    ],
)
async def test_a_changed_version_of_a_configuration_is_refused(world: World, change: str) -> None:
    statement = f"UPDATE configuration_versions SET {change} WHERE version = 3"
    async with attacked(world, statement) as service:
        client = service.client
        listed = (await done(client.get(f"{CONFIGURATION}/versions")))["versions"]
        assert [one["status"] for one in listed] == ["ok", "unreadable", "ok", "ok"]
        for path in (
            f"{CONFIGURATION}/versions/3",
            f"{CONFIGURATION}/diff?from=3&to=1",
            "/api/agent-runs/1/configuration",
        ):
            assert (await client.get(path)).json()["code"] == "changed_outside", path
        rolled = await client.post(f"{CONFIGURATION}/rollback", json={"version": 3})
        assert rolled.json()["code"] == "changed_outside"
        assert await service.named_by_verify() == {"projects/1/configuration/versions/3"}
        assert (await done(client.get(f"{CONFIGURATION}/versions/2")))["setup_commands"] == "second"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET project_id = 2 WHERE version = 2",
        "UPDATE {table} SET version = 9 WHERE version = 2",
        "UPDATE {table} SET version = -1 WHERE version = 2",
    ],
)
@pytest.mark.parametrize("table", ["secret_versions", "configuration_versions"])
async def test_a_version_that_was_moved_is_named(world: World, table: str, statement: str) -> None:
    async with attacked(world, statement.format(table=table)) as service:
        assert len(await service.named_by_verify()) == 1


async def test_an_inserted_row_of_the_next_version_neither_counts_nor_stops_a_change(
    world: World,
) -> None:
    columns = (
        "secret_id, project_id, project_key_id, key_name, ciphertext, created_at, updated_at, mac"
    )
    statement = (
        f"INSERT INTO secret_versions ({columns}, version) SELECT {columns}, 3"
        " FROM secret_versions WHERE version = 2"
    )
    async with attacked(world, statement) as service:
        await done(service.client.put(SECRET, json={"value": "fourth"}))
        assert await service.named_by_verify() == set()
        revealed = await done(service.client.get(f"{SECRET}/versions/3/value"))
        assert revealed["value"] == "third"


async def test_a_destroyed_version_that_is_put_back_is_refused(world: World) -> None:
    world.keep("second", "secret_versions", "version = 2")
    async with running(world) as service:
        await done(service.client.delete(f"{SECRET}/versions/2"))
    with outside(world.database) as db:
        db.execute("DELETE FROM secret_versions WHERE version = 2")
        row = world.rows["second"]
        names = ", ".join(row)
        db.execute(
            f"INSERT INTO secret_versions ({names}) VALUES ({', '.join('?' * len(row))})",
            tuple(row.values()),
        )
    async with running(world) as service:
        revealed = await service.client.get(f"{SECRET}/versions/2/value")
        assert revealed.json()["code"] == "secret_unreadable"
        assert await service.named_by_verify() == {"projects/1/secrets/KEY/versions/2"}


async def test_a_purged_project_that_is_put_back_has_no_versions(world: World) -> None:
    of_secrets = ("project_keys", "project_secrets", "secret_versions")
    tables = ("projects", *of_secrets, "project_settings", "configuration_versions")
    with outside(world.database) as db:
        rows = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    async with running(world) as service:
        await done(service.client.delete("/api/projects/1?purge=true"))
    with outside(world.database) as db:
        for table, content in rows.items():
            for row in content:
                marks = ", ".join("?" * len(row))
                db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", tuple(row))
    async with running(world) as service:
        client = service.client
        listed = (await done(client.get(f"{SECRET}/versions")))["versions"]
        assert {one["status"] for one in listed} == {"unreadable"}
        answer = await client.get(f"{CONFIGURATION}/versions/1")
        assert answer.json()["code"] == "changed_outside"
        named = await service.named_by_verify()
        assert {"projects/1/secrets/KEY/versions/1", "projects/1/configuration/versions/1"} <= named


async def test_a_deleted_secret_whose_row_was_changed_is_not_restored(world: World) -> None:
    async with running(world) as service:
        await done(service.client.delete(SECRET))
    change = f"UPDATE secret_versions SET deleted_at = '{EARLIER}' WHERE version = 3"
    for statement in (change, "DELETE FROM secret_versions WHERE version = 3"):
        async with attacked(world, statement) as service:
            answer = await service.client.post(f"{SECRET}/restore")
            assert answer.json()["code"] in ("secret_not_found", "secret_unreadable")
            assert (await service.client.get(SECRET)).status_code == 404


async def test_a_version_that_was_changed_while_it_was_present_is_not_kept(world: World) -> None:
    statement = "UPDATE project_secrets SET updated_at = '2020-01-01T00:00:00.000000Z'"
    async with attacked(
        world, statement, "UPDATE project_settings SET setup_commands = 'evil' WHERE project_id = 1"
    ) as service:
        client = service.client
        await done(client.put(SECRET, json={"value": "fourth"}))
        await done(client.post(f"{CONFIGURATION}/rollback", json={"version": 3}))
        for path, numbers in ((SECRET, [4, 2, 1]), (CONFIGURATION, [5, 3, 2, 1])):
            listed = (await done(client.get(f"{path}/versions")))["versions"]
            assert [one["version"] for one in listed] == numbers
        assert (await done(client.get(CONFIGURATION)))["setup_commands"] == "third"
        assert await service.named_by_verify() == set()
