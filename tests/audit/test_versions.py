"""Each change's entry has the version that the change gave to its resource."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from backend.schemas.projects import ProjectCreate, ProjectDocument
from backend.schemas.runs import AgentRunCreate, RunClaim
from backend.schemas.secrets import SecretUpsert
from backend.services.database_service import DatabaseService
from database.connection_manager import DatabaseManager
from tests.support.http import manager_of, new_project
from tests.support.resources import Resources
from tests.support.routes import calls, send

WITH_VERSIONS = {"projects", "configuration", "secrets", "agent_runs", "webhooks", "snapshots"}
"""The kinds of resources that have versions, by a part of their targets."""


def newest(manager: DatabaseManager) -> dict[str, Any]:
    return manager.execute_query("SELECT * FROM audit_entries ORDER BY id DESC LIMIT 1")[0]


async def version_of(client: httpx.AsyncClient, target: str) -> int | None:
    """The version that the API shows for a target; `None` for what is gone or has none."""
    answer = await client.get(f"/api/{target.replace('agent_runs', 'agent-runs')}")
    if answer.status_code != 200:
        return None
    version: int | None = answer.json().get("version")
    return version


def last_version(manager: DatabaseManager, row: dict[str, Any]) -> int:
    """The version in the entry before this one of its target."""
    [before] = manager.execute_query(
        "SELECT version FROM audit_entries WHERE target = ? AND id < ? ORDER BY id DESC LIMIT 1",
        (row["target"], row["id"]),
    )
    version: int = before["version"]
    return version


async def test_the_entry_of_every_changing_route_has_the_version_that_the_resource_shows(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    # Background work would make entries of its own.
    await application.state.runtime.background.stop()
    manager = manager_of(application)
    seen: set[str] = set()
    for call in calls(application):
        # An earlier call may have changed or removed its resources.
        resources = Resources(client)
        names = {name: await resources.get(name) for name in call.names}
        project_id = await resources.get("project_id")
        before = newest(manager)["id"]
        await send(client, call, names, project_id=project_id)
        rows = manager.execute_query("SELECT * FROM audit_entries WHERE id > ?", (before,))
        for row in rows:
            shown = await version_of(client, row["target"])
            if row["action"] in ("secret.deleted", "secret.purged"):
                # Its last one, from which a later secret of this key goes on.
                assert shown is None
                shown = last_version(manager, row)
            assert row["version"] == shown, (str(call), row)
            if shown is not None:
                seen.update(WITH_VERSIONS.intersection(row["target"].split("/")))
        await client.delete(f"/api/projects/{project_id}", params={"purge": "true"})
    assert seen == WITH_VERSIONS


async def test_versions_follow_one_another_without_a_gap(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    project = new_project(secrets=[{"key": "A", "value": "v"}])
    repository = {name: project[name] for name in ("github_owner", "github_repo")}
    await service.projects.create(ProjectCreate.model_validate(project))
    for value in ("x", "y"):
        await service.secrets.upsert(1, [SecretUpsert(key="A", value=SecretStr(value))])
        await service.secrets.put(1, "A", SecretStr(f"{value}!"))
    for setup in ("make", "make all"):
        document = ProjectDocument.model_validate(
            {**repository, "name": setup, "settings": {"setup_commands": setup}, "secrets": {}}
        )
        await service.documents.import_one(document)
    await service.projects.delete(1)
    await service.projects.restore(1)
    for _ in range(3):
        await service.runs.create(AgentRunCreate(project_id=1, target_text="t"))
    await asyncio.gather(*(service.claims.claim(RunClaim(worker="w", count=1)) for _ in range(3)))
    rows = manager.execute_query(
        "SELECT target, version FROM audit_entries WHERE version IS NOT NULL ORDER BY id"
    )
    versions: dict[str, list[int]] = {}
    for row in rows:
        versions.setdefault(row["target"], []).append(row["version"])
    assert versions["projects/1"] == list(range(1, len(versions["projects/1"]) + 1))
    assert versions["projects/1/secrets/A"] == [1, 2, 3, 4, 5]
    assert versions["projects/1/configuration"] == [1, 2, 3]
    assert [versions[f"agent_runs/{number}"] for number in (1, 2, 3)] == [[1, 2]] * 3
