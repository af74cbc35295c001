"""What is recorded, and that nothing happens without a record."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import SecretStr

from backend.errors import ProjectExists
from backend.main import create_app
from backend.observability.request_ids import current_request_id
from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate, ProjectUpdate
from backend.schemas.secrets import SecretCreate
from backend.schemas.tokens import TokenCreate
from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from backend.services.principal import Principal, acting_as
from config.settings import Settings
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError, TransactionLost
from tests.support.clients import client_of
from tests.support.http import all_rows, make_project, manager_of, new_project
from tests.support.resources import Resources
from tests.support.routes import calls, send

Recorded = tuple[str, str, int | None, list[str]]
VALUE = "a value that the audit must not have"
NEW = {
    "name": "a",
    "github_owner": "o",
    "github_repo": "r",
    "settings": {"branch_name": "dev"},
    "secrets": [{"key": "A", "value": VALUE}, {"key": "B", "value": VALUE}],
}


def entries(manager: DatabaseManager, *, after: int = 0) -> list[dict[str, Any]]:
    rows = manager.execute_query("SELECT * FROM audit_entries WHERE id > ? ORDER BY id", (after,))
    return [{**row, "fields": json.loads(row["fields"])} for row in rows]


def last_id(manager: DatabaseManager) -> int:
    return len(entries(manager))


Step = Callable[[DatabaseService], Awaitable[object]]
STEPS: list[tuple[str, Step, list[Recorded]]] = [
    (
        "a project with all that comes with it",
        lambda service: service.projects.create(ProjectCreate.model_validate(NEW)),
        [
            (
                "project.created",
                "projects/1",
                1,
                ["github_owner", "github_repo", "name", "settings.branch_name"],
            ),
            ("settings.created", "projects/1/configuration", 1, ["branch_name"]),
            ("secret.created", "projects/1/secrets/A", 1, ["value"]),
            ("secret.created", "projects/1/secrets/B", 1, ["value"]),
        ],
    ),
    (
        "fields that differ",
        lambda service: service.projects.update(
            1, ProjectUpdate(name="b", github_owner="o", auto_merge_enabled=True)
        ),
        [("project.updated", "projects/1", 1, ["auto_merge_enabled", "name"])],
    ),
    (
        "nothing that differs",
        lambda service: service.projects.update(1, ProjectUpdate(name="b", github_owner="o")),
        [],
    ),
    (
        "settings",
        lambda service: service.projects.update_settings(
            1, ProjectSettingsUpdate(setup_commands=VALUE, branch_name="dev")
        ),
        [("settings.updated", "projects/1/configuration", 1, ["setup_commands"])],
    ),
    (
        "the same settings",
        lambda service: service.projects.update_settings(
            1, ProjectSettingsUpdate(branch_name="dev")
        ),
        [],
    ),
    (
        "one secret",
        lambda service: service.secrets.create(1, SecretCreate(key="C", value=SecretStr(VALUE))),
        [("secret.created", "projects/1/secrets/C", 1, ["value"])],
    ),
    (
        "another value, the same value, and a new key",
        lambda service: service.secrets.upsert(
            1,
            [
                SecretCreate(key="A", value=SecretStr("new")),
                SecretCreate(key="B", value=SecretStr(VALUE)),
                SecretCreate(key="D", value=SecretStr(VALUE)),
            ],
        ),
        [
            ("secret.updated", "projects/1/secrets/A", 1, ["value"]),
            ("secret.created", "projects/1/secrets/D", 1, ["value"]),
        ],
    ),
    (
        "a value that is set",
        lambda service: service.secrets.put(1, "D", SecretStr("new")),
        [("secret.updated", "projects/1/secrets/D", 1, ["value"])],
    ),
    (
        "the same value again",
        lambda service: service.secrets.put(1, "D", SecretStr("new")),
        [],
    ),
    (
        "a reveal",
        lambda service: service.secrets.reveal(1, "D"),
        [("secret.revealed", "projects/1/secrets/D", 1, [])],
    ),
    (
        "documents without values",
        lambda service: service.documents.export(limit=50, after=None),
        [],
    ),
    (
        "documents with values",
        lambda service: service.documents.reveal(limit=50, after=None),
        [("secret.revealed", f"projects/1/secrets/{key}", 1, []) for key in "ABCD"],
    ),
    ("a look", lambda service: service.projects.get_full(1), []),
    (
        "a secret that goes",
        lambda service: service.secrets.delete(1, "D"),
        [("secret.deleted", "projects/1/secrets/D", 1, [])],
    ),
    (
        "a project that is deleted",
        lambda service: service.projects.delete(1),
        [("project.deleted", "projects/1", 1, [])],
    ),
    ("and deleted again", lambda service: service.projects.delete(1), []),
    (
        "a project that is restored",
        lambda service: service.projects.restore(1),
        [("project.restored", "projects/1", 1, [])],
    ),
    ("and restored again", lambda service: service.projects.restore(1), []),
    (
        "a project that is purged",
        lambda service: service.projects.purge(1),
        [("project.purged", "projects/1", 1, [])],
    ),
]


async def test_each_change_and_each_reveal_is_recorded(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    [first] = entries(manager)
    assert (first["action"], first["target"], first["actor"]) == (
        "token.created",
        "tokens/1",
        "system",
    )
    for name, step, expected in STEPS:
        before = last_id(manager)
        await step(service)
        recorded = [
            (entry["action"], entry["target"], entry["project_id"], entry["fields"])
            for entry in entries(manager, after=before)
        ]
        assert recorded == expected, name
    assert VALUE not in str(entries(manager))
    assert verify_audit(manager, service.audit.chain) is None


async def test_an_entry_has_its_actor_and_request(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    with acting_as(Principal("ci", frozenset({"admin"}), token_id=5)):
        await service.projects.create(ProjectCreate.model_validate(NEW))
    assert {(entry["actor"], entry["actor_token_id"]) for entry in entries(manager, after=1)} == {
        ("ci", 5)
    }
    assert current_request_id() is None


async def test_over_http_the_token_and_the_request_are_named(client: AsyncClient) -> None:
    body = {"name": "deploy", "scopes": ["projects:write", "audit:read"]}
    token = (await client.post("/api/tokens", json=body)).json()
    headers = {"Authorization": f"Bearer {token['token']}", "X-Request-ID": "the-one.7"}
    await client.post("/api/projects", json=new_project(), headers=headers)
    listed = await client.get("/api/audit?actor=deploy", headers=headers)
    entries = listed.json()["entries"]
    for entry in entries:
        assert entry["actor"] == "deploy"
        assert entry["actor_token_id"] == token["id"]
        assert entry["request_id"] == "the-one.7"
    assert [entry["action"] for entry in entries] == ["settings.created", "project.created"]


async def test_without_authentication_no_actor_is_named(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"auth": "off"}))
    async with app.router.lifespan_context(app):
        manager = manager_of(app)
        async with client_of(app, base_url="http://localhost") as anybody:
            await make_project(anybody)
        assert entries(manager)[-1]["actor"] == "anonymous"
        assert entries(manager)[-1]["actor_token_id"] is None


NOT_RECORDED = {
    "POST /api/logs",
    "POST /api/agent-runs/{run_id}/heartbeat",
}
"""Calls that are sent all the time, and are themselves a record or a sign of life."""


async def test_no_route_changes_or_reveals_anything_that_can_not_be_recorded(
    client: AsyncClient, application: FastAPI
) -> None:
    # Background work would show among the changes that the routes made.
    await application.state.runtime.background.stop()
    resources = Resources(client)
    await resources.all()
    manager = manager_of(application)
    manager.execute_command(
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries"
        " BEGIN SELECT RAISE(ABORT, 'no audit'); END"
    )
    refused = set()
    for call in calls(application):
        reveals = call.scope == "secrets:reveal"
        if call.scope is None or (call.method == "GET" and not reveals):
            continue
        names = {name: await resources.get(name) for name in call.names}
        before = all_rows(manager)
        project_id = await resources.get("project_id")
        response = await send(client, call, names, project_id=project_id)
        if str(call) in NOT_RECORDED:
            continue
        assert all_rows(manager) == before, str(call)
        if response.status_code == 500:
            refused.add(str(call))
        if reveals:
            assert response.status_code == 500
    assert len(refused) > 15, refused


async def test_changes_at_once_make_one_chain(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    async def create(number: int) -> None:
        # Every third project is refused, and must not leave a gap.
        data = {**NEW, "github_repo": f"r{number - number % 3 % 2}"}
        with suppress(ProjectExists):
            await service.projects.create(ProjectCreate.model_validate(data))

    await asyncio.gather(*(create(number) for number in range(200)))
    created = await service.repositories.projects.count()
    assert 100 < created < 200
    recorded = entries(manager)
    assert [entry["id"] for entry in recorded] == list(range(1, 4 * created + 2))
    assert verify_audit(manager, service.audit.chain) is None


async def test_a_row_that_can_not_be_written_undoes_all_units_of_its_batch(
    service: DatabaseService, manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow this machine is, the units share one batch.
    batches = manager.async_pool.writer._batches
    monkeypatch.setattr(batches, "_config", replace(batches._config, batch_seconds=60.0))
    manager.execute_command(
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries"
        " WHEN new.action = 'project.created' BEGIN SELECT RAISE(ABORT, 'no audit'); END"
    )
    token = {"name": "t", "scopes": ["projects:read"]}
    commits = manager.async_pool.writer.stats.commits
    results = await asyncio.gather(
        service.projects.create(ProjectCreate.model_validate(NEW)),
        service.tokens.create(TokenCreate.model_validate(token)),
        service.projects.create(ProjectCreate.model_validate({**NEW, "github_repo": "r2"})),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [TransactionLost] * 3
    assert manager.async_pool.writer.stats.commits == commits
    assert await service.repositories.projects.count() == 0
    assert [entry["action"] for entry in entries(manager)] == ["token.created"]
    # The next batch goes on where the record ends.
    await service.tokens.create(TokenCreate.model_validate(token))
    assert [entry["action"] for entry in entries(manager)] == ["token.created"] * 2
    assert verify_audit(manager, service.audit.chain) is None


async def test_values_that_can_not_be_recorded_are_not_exported(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    await service.projects.create(ProjectCreate.model_validate(NEW))
    manager.execute_command(
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries"
        " WHEN new.action = 'secret.revealed' BEGIN SELECT RAISE(ABORT, 'no audit'); END"
    )
    with pytest.raises(DatabaseError):
        await service.documents.reveal(limit=50, after=None)
    assert "secret.revealed" not in {entry["action"] for entry in entries(manager)}
