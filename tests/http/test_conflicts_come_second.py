"""A change that demands a version is refused before any conflict is found."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import all_rows, make_project, manager_of, problem
from tests.support.resources import make

STALE = {"If-Match": '"v9"'}


async def run_of(client: httpx.AsyncClient) -> str:
    """The path of a new run in a new project."""
    project = await make_project(client)
    body = {"project_id": project["id"], "target_text": "t"}
    return f"/api/agent-runs/{(await make(client, '/api/agent-runs', body))['id']}"


Conflict = Callable[[httpx.AsyncClient, FastAPI], Awaitable[tuple[str, str, Any, str]]]


async def _taken_repository(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    await make_project(client, github_repo="taken")
    project = await make_project(client, github_repo="other")
    return "PATCH", f"/api/projects/{project['id']}", {"github_repo": "taken"}, "project_exists"


async def _taken_meanwhile(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    project = await make_project(client, github_repo="taken")
    await client.delete(f"/api/projects/{project['id']}")
    await make_project(client, github_repo="taken")
    return "POST", f"/api/projects/{project['id']}/restore", None, "project_exists"


async def _final_run(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    await client.post(f"{path}/cancel")
    return "PATCH", path, {"result": "x"}, "invalid_transition"


async def _impossible_step(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    return "POST", f"{path}/transitions", {"to": "completed"}, "invalid_transition"


async def _cancelled_twice(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    await client.post(f"{path}/cancel")
    return "POST", f"{path}/cancel", None, "invalid_transition"


async def _continued_early(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    return "POST", f"{path}/continue", {"message": "m"}, "invalid_transition"


async def _answered_early(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    body = {"role": "user", "content": "m", "continue": True}
    return "POST", f"{path}/messages", body, "invalid_transition"


async def _message_of_others(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    body = {"role": "agent", "content": "m", "lease_token": "another"}
    return "POST", f"{path}/messages", body, "lease_lost"


async def _lost_lease(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    return "POST", f"{path}/heartbeat", {"lease_token": "another"}, "lease_lost"


async def _change_of_others(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    return "PATCH", path, {"result": "x", "lease_token": "another"}, "lease_lost"


async def _backward_snapshot(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    made = await make(client, f"{path}/snapshots", {"snapshot_id": "s", "status": "failed"})
    return "PATCH", f"/api/snapshots/{made['id']}", {"status": "creating"}, "invalid_transition"


async def _snapshot_of_others(client: httpx.AsyncClient, _: FastAPI) -> tuple[str, str, Any, str]:
    path = await run_of(client)
    made = await make(client, f"{path}/snapshots", {"snapshot_id": "s"})
    body = {"error_message": "x", "lease_token": "another"}
    return "PATCH", f"/api/snapshots/{made['id']}", body, "lease_lost"


async def _forged_project(client: httpx.AsyncClient, app: FastAPI) -> tuple[str, str, Any, str]:
    project = await make_project(client)
    manager_of(app).execute_command("UPDATE projects SET name = 'forged'")
    return "DELETE", f"/api/projects/{project['id']}", None, "changed_outside"


async def _forged_settings(client: httpx.AsyncClient, app: FastAPI) -> tuple[str, str, Any, str]:
    project = await make_project(client)
    manager_of(app).execute_command("UPDATE project_settings SET branch_name = 'forged'")
    path = f"/api/projects/{project['id']}/configuration"
    return "PATCH", path, {"setup_commands": "x"}, "changed_outside"


async def _forged_webhook(client: httpx.AsyncClient, app: FastAPI) -> tuple[str, str, Any, str]:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/webhooks"
    made = await make(client, path, {"webhook_type": "custom"})
    manager_of(app).execute_command("UPDATE webhooks SET webhook_url = 'https://x.test'")
    return "PATCH", f"/api/webhooks/{made['id']}", {"is_active": False}, "changed_outside"


CONFLICTS: list[Conflict] = [
    *(_taken_repository, _taken_meanwhile, _final_run, _impossible_step, _cancelled_twice),
    *(_continued_early, _answered_early, _message_of_others),
    *(_lost_lease, _change_of_others, _backward_snapshot, _snapshot_of_others),
    *(_forged_project, _forged_settings, _forged_webhook),
]


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda conflict: conflict.__name__)
async def test_the_version_is_looked_at_before_any_conflict(
    client: httpx.AsyncClient, application: FastAPI, conflict: Conflict
) -> None:
    method, path, body, code = await conflict(client, application)
    request: dict[str, Any] = {} if body is None else {"json": body}
    before = all_rows(manager_of(application))
    refused = await client.request(method, path, headers=STALE, **request)
    problem(refused, "version_mismatch")
    assert all_rows(manager_of(application)) == before
    present = {"If-Match": refused.headers["ETag"]}
    problem(await client.request(method, path, headers=present, **request), code)
