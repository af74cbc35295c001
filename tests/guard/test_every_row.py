"""Every guarded table, column, route and batch, found by discovery."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from backend.errors import SecretExists
from backend.repositories.guarded_kinds import GUARDED_KINDS, GuardedKind
from backend.repositories.sealed_repository import SEALED_KINDS
from backend.repositories.version_rows import VERSION_KINDS
from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate, ProjectUpdate
from backend.schemas.secrets import SecretCreate, SecretUpsert
from backend.schemas.tokens import TokenCreate
from backend.schemas.webhooks import WebhookCreate, WebhookUpdate
from backend.services.database_service import DatabaseService
from database.connection_manager import ConnectionConfig, DatabaseManager
from tests.guard.replay import COLUMNS, faults_of
from tests.guard.world import Running, World, outside, running
from tests.keys.support import fill
from tests.support.http import manager_of, new_project, service_of
from tests.support.resources import Resources
from tests.support.routes import calls, send

PAGE = (Path(__file__).parents[2] / "docs/security.md").read_text(encoding="utf-8")


@pytest.fixture
def database_config(database_path: Path) -> ConnectionConfig:
    """All writes that wait share one batch, however slow the machine is."""
    return ConnectionConfig(database_path, batch_seconds=60)


@pytest.mark.parametrize("kind", GUARDED_KINDS, ids=lambda kind: kind.table)
def test_every_column_of_a_guarded_table_is_guarded_or_named_as_unguarded(
    kind: GuardedKind, manager: DatabaseManager
) -> None:
    info = manager.execute_query(f"PRAGMA table_info({kind.table})")
    names = [column["name"] for column in info]
    assert sorted([*kind.columns, *kind.unguarded]) == sorted(names)
    # The order is part of the digest.
    assert list(kind.columns) == COLUMNS[kind.table].split()


def test_every_table_with_scopes_settings_or_sealed_values_is_guarded(
    manager: DatabaseManager,
) -> None:
    guarded = {kind.table for kind in GUARDED_KINDS}
    assert guarded == COLUMNS.keys()
    versions = {kind.table for kind in VERSION_KINDS}
    assert {kind.table for kind in SEALED_KINDS} <= guarded | versions
    assert {kind.guarded.table for kind in VERSION_KINDS} <= guarded
    tables = manager.execute_query("SELECT name FROM sqlite_master WHERE type = 'table'")
    for table in (table["name"] for table in tables):
        names = {column["name"] for column in manager.execute_query(f"PRAGMA table_info({table})")}
        if names & {
            "scopes",
            "token_id",
            "setup_commands",
            "project_key_id",
            "ciphertext",
            "webhook_url",
        }:
            assert table in guarded | versions


@pytest.mark.parametrize("kind", GUARDED_KINDS, ids=lambda kind: kind.table)
def test_the_page_names_the_columns_of_every_digest_in_their_order(kind: GuardedKind) -> None:
    assert f"| `{kind.table}` | {', '.join(f'`{name}`' for name in kind.columns)} |" in PAGE


@pytest.fixture(scope="module")
async def shared(
    made_world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """A service on a copy of the installation, whose rows are written to and put back."""
    copy = made_world.copy(tmp_path_factory.mktemp("shared") / "copy")
    async with running(copy) as service:
        yield service


def another(value: Any, declared: str) -> Any:
    """A value of the same type that differs from this one in one place."""
    if value is None:
        return 1 if declared == "INTEGER" else "2020-01-01T00:00:00.000000Z"
    return value + 1 if isinstance(value, int) else f"{value} "


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        pytest.param(kind, column, id=f"{kind.table}.{column}")
        for kind in GUARDED_KINDS
        for column in sorted([*kind.columns, *kind.unguarded])
    ],
)
async def test_another_value_in_any_column_is_found_unless_it_is_unguarded(
    shared: Running, kind: GuardedKind, column: str
) -> None:
    service = service_of(shared.app)
    guard, repositories = service.kit.guard, service.repositories
    with outside(shared.world.database) as db:
        info = db.execute(f"PRAGMA table_info({kind.table})").fetchall()
        [declared] = [row["type"] for row in info if row["name"] == column]
        rows = db.execute(f"SELECT * FROM {kind.table}").fetchall()  # noqa: S608
        for before in map(dict, rows):
            assert await guard.is_genuine(repositories, kind, before["id"])
            written = another(before[column], declared) if column != "id" else 999
            id = written if column == "id" else before["id"]
            change = f"UPDATE OR REPLACE {kind.table} SET {column} = ? WHERE id = ?"  # noqa: S608
            db.execute(change, (written, before["id"]))
            try:
                found = await guard.forged(repositories, kind, [id])
            finally:
                db.execute(f"DELETE FROM {kind.table}")  # noqa: S608
                for row in rows:
                    marks = ", ".join("?" * len(row))
                    db.execute(f"INSERT INTO {kind.table} VALUES ({marks})", tuple(row))  # noqa: S608
            assert bool(found) == (column not in kind.unguarded), before
        assert await guard.is_genuine(repositories, kind, 1)


async def test_every_row_is_genuine_after_every_route(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await application.state.runtime.background.stop()
    service, manager = service_of(application), manager_of(application)
    token = client.headers["authorization"].partition(" ")[2]
    assert (await client.post("/api/session", json={"token": token})).status_code == 204
    for call in calls(application):
        # An earlier call may have changed or removed its resources.
        resources = Resources(client)
        names = {name: await resources.get(name) for name in call.names}
        project_id = await resources.get("project_id")
        await send(client, call, names, project_id=project_id)
        assert faults_of(service) == [], str(call)
        assert list(service.repositories.audit.waiting()) == []
        await client.delete(f"/api/projects/{project_id}", params={"purge": "true"})
    assert faults_of(service) == []
    rows = manager.execute_query(
        "SELECT DISTINCT action FROM audit_entries WHERE digest IS NOT NULL"
    )
    assert {row["action"] for row in rows} >= {
        *(f"project.{verb}" for verb in ("created", "updated", "deleted", "purged")),
        *(f"settings.{verb}" for verb in ("created", "updated")),
        *(f"secret.{verb}" for verb in ("created", "updated", "deleted")),
        *(f"webhook.{verb}" for verb in ("created", "updated", "deleted")),
        *(f"token.{verb}" for verb in ("created", "revoked")),
        "session.created",
    }


async def test_every_row_is_genuine_after_each_step_of_a_rotation(
    service: DatabaseService,
) -> None:
    await fill(service, projects=2, secrets=3)
    steps = 0

    def check(_: object) -> None:
        nonlocal steps
        steps += 1
        assert faults_of(service) == []

    await service.rotation.begin(reencrypt=True)
    await service.rotation.run(on_step=check)
    assert steps > 3
    assert faults_of(service) == []


async def test_rows_that_one_batch_changes_several_times_are_as_it_left_them(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    project = new_project(secrets=[{"key": "OLD", "value": "v"}])
    await service.projects.create(ProjectCreate.model_validate(project))
    secret = SecretCreate.model_validate({"key": "A", "value": "v"})
    webhook = WebhookCreate.model_validate({"webhook_type": "custom"})
    secrets, webhooks, projects = service.secrets, service.webhooks, service.projects
    token = TokenCreate.model_validate({"name": "t", "scopes": ["admin"]})
    commits = manager.async_pool.writer.stats.commits
    results = await asyncio.gather(
        secrets.create(1, secret),
        secrets.put(1, "A", SecretStr("w")),
        secrets.delete(1, "A"),
        secrets.create(1, secret),
        secrets.create(1, secret),
        secrets.reveal(1, "A"),
        secrets.upsert(1, [SecretUpsert.model_validate({"key": "A", "value": "x"})]),
        secrets.delete(1, "OLD"),
        webhooks.create(1, webhook),
        webhooks.update(1, WebhookUpdate.model_validate({"events": ["push"]})),
        webhooks.delete(1),
        webhooks.create(1, webhook),
        webhooks.update(2, WebhookUpdate.model_validate({"secret_token": "a made-up token"})),
        projects.update_settings(1, ProjectSettingsUpdate(branch_name="b")),
        projects.update_settings(1, ProjectSettingsUpdate(branch_name="c")),
        projects.update(1, ProjectUpdate(name="n")),
        projects.delete(1),
        projects.restore(1),
        projects.create(ProjectCreate.model_validate(new_project())),
        projects.update(2, ProjectUpdate(name="n")),
        service.tokens.create(token),
        projects.purge(2),
        service.tokens.revoke(2),
        return_exceptions=True,
    )
    # The last two of them wait for tasks of their own.
    assert manager.async_pool.writer.stats.commits <= commits + 2
    assert manager.async_pool.writer.stats.largest_batch >= len(results) - 2
    failed = [result for result in results if isinstance(result, BaseException)]
    assert [type(error) for error in failed] == [SecretExists]
    assert faults_of(service) == []
    last = await service.secrets.reveal(1, "A")
    assert (last.value, last.version) == ("x", 4)


async def test_a_unit_that_fails_leaves_the_digest_of_what_others_left(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    await service.projects.create(ProjectCreate.model_validate(new_project()))
    updating = service.projects

    async def failing() -> None:
        async with service.transaction():
            await updating.update(1, ProjectUpdate(name="lost"))
            raise KeyError("mine")

    commits = manager.async_pool.writer.stats.commits
    results = await asyncio.gather(
        updating.update(1, ProjectUpdate(name="first")),
        manager.async_pool.run_unit(failing),
        updating.update(1, ProjectUpdate(name="last")),
        manager.async_pool.run_unit(failing),
        return_exceptions=True,
    )
    assert [type(result) for result in results if isinstance(result, BaseException)] == [
        KeyError,
        KeyError,
    ]
    assert manager.async_pool.writer.stats.commits == commits + 1
    assert faults_of(service) == []
    assert (await service.projects.get(1)).version == 3
