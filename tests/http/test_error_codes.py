"""Every error code there is, produced as a client would meet it."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI

from backend.errors import ERROR_TABLE
from backend.http.inbound_budget import InboundLimits
from backend.http.state import state_of
from backend.services.idempotency import idempotency
from tests.support.http import (
    JSON,
    large_project,
    limit_pages,
    make_project,
    manager_of,
    new_project,
    problem,
    service_of,
)
from tests.support.resources import ABSENT, ABSENT_ID, Resources
from tests.support.routes import all_calls, send

Producer = Callable[[httpx.AsyncClient, FastAPI], Awaitable[httpx.Response]]
PRODUCERS: dict[str, Producer] = {}


def produces(code: str) -> Callable[[Producer], Producer]:
    """Marks a function that makes the product answer with `code`."""

    def register(producer: Producer) -> Producer:
        PRODUCERS[code] = producer
        return producer

    return register


@produces("malformed_json")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.post("/api/projects", content=b"{", headers=JSON)


@produces("bad_cursor")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.get("/api/projects?cursor=x")


@produces("version_destroyed")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    path = f"/api/projects/{project['id']}/secrets/A"
    await client.put(path, json={"value": "w"})
    await client.delete(f"{path}/versions/1")
    return await client.get(f"{path}/versions/1/value")


@produces("bad_request")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.get("/api/projects?q=%ff")


@produces("unauthenticated")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.get("/api/projects", headers={"Authorization": "Bearer sr_no"})


@produces("forbidden")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    body = {"name": "nothing", "scopes": ["logs:write"]}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    return await client.get("/api/projects", headers={"Authorization": f"Bearer {token}"})


@produces("not_found")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.get("/nowhere")


@produces("method_not_allowed")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.patch("/api/projects")


@produces("project_exists")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    body = new_project()
    await client.post("/api/projects", json=body)
    return await client.post("/api/projects", json=body)


@produces("secret_exists")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    secret = {"key": "A", "value": "v"}
    project = await make_project(client, secrets=[secret])
    return await client.post(f"/api/projects/{project['id']}/secrets", json=secret)


@produces("secret_unreadable")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    manager_of(app).execute_command("UPDATE project_secrets SET ciphertext = 'x'")
    return await client.get(f"/api/projects/{project['id']}/secrets/A/value")


@produces("changed_outside")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    project = await make_project(client)
    manager_of(app).execute_command("UPDATE project_settings SET branch_name = 'forged'")
    return await client.get(f"/api/projects/{project['id']}/configuration")


async def _make_run(client: httpx.AsyncClient) -> str:
    project = await make_project(client)
    body = {"project_id": project["id"], "target_text": "t"}
    response = await client.post("/api/agent-runs", json=body)
    assert response.status_code == 201
    return f"/api/agent-runs/{response.json()['id']}"


@produces("invalid_transition")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    run = await _make_run(client)
    return await client.post(f"{run}/transitions", json={"to": "completed"})


@produces("lease_lost")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    run = await _make_run(client)
    claimed = (await client.post("/api/agent-runs/claim", json={"worker": "w"})).json()
    await client.post(f"{run}/transitions", json={"to": "paused"})
    await client.post(f"{run}/cancel")
    return await client.post(f"{run}/heartbeat", json={"lease_token": claimed["lease_token"]})


@produces("snapshot_exists")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    run = await _make_run(client)
    await client.post(f"{run}/snapshots", json={"snapshot_id": "s"})
    return await client.post(f"{run}/snapshots", json={"snapshot_id": "s"})


async def _make_webhook(client: httpx.AsyncClient) -> str:
    project = await make_project(client)
    body = {"webhook_type": "github_pr", "secret_token": "a made-up token"}
    response = await client.post(f"/api/projects/{project['id']}/webhooks", json=body)
    assert response.status_code == 201
    return f"/api/webhooks/{response.json()['id']}"


@produces("rate_limited")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    webhook = await _make_webhook(client)
    app.state.inbound = InboundLimits(small_bytes=1)
    headers = {
        **JSON,
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": "1",
        "X-Hub-Signature-256": "sha256=" + "0" * 64,
    }
    return await client.post(f"{webhook}/deliveries/github", content=b"{}", headers=headers)


@produces("rotation_running")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    # It has begun and does not go on, so one of the other kind has to wait.
    await service_of(app).rotation.begin(reencrypt=True)
    return await client.post("/api/keys/rotate", json={"reencrypt": False})


@produces("version_mismatch")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.delete(await _make_webhook(client), headers={"If-Match": '"v2"'})


@produces("body_too_large")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.post("/api/projects", content=b" " * 1_048_577, headers=JSON)


@produces("unsupported_media_type")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.post("/api/projects", content=b"{}")


@produces("validation_failed")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    return await client.post("/api/projects", json={})


@produces("idempotency_key_reused")
async def _(client: httpx.AsyncClient, _app: FastAPI) -> httpx.Response:
    key = {"Idempotency-Key": "k"}
    assert (await client.post("/api/projects", json=new_project(), headers=key)).is_success
    return await client.post("/api/projects", json=new_project(), headers=key)


@produces("idempotency_in_progress")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    service, body, key = service_of(app), new_project(), {"Idempotency-Key": "k"}
    async with service.transaction():
        # The first one waits for the writer, which the block holds.
        first = asyncio.ensure_future(client.post("/api/projects", json=body, headers=key))
        while not service.idempotency.running:
            await asyncio.sleep(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(idempotency, "PATIENCE_SECONDS", 0.01)
            second = await client.post("/api/projects", json=body, headers=key)
    assert (await first).is_success
    return second


@produces("internal")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    manager_of(app).execute_command("DROP TABLE project_settings")
    return await client.post("/api/projects", json=new_project())


@produces("too_many_streams")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    state_of(app).streams.limit = 0
    return await client.get("/api/events", headers={"Accept": "text/event-stream"})


@produces("database_busy")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    await manager_of(app).close()
    return await client.get("/api/projects")


@produces("database_full")
async def _(client: httpx.AsyncClient, app: FastAPI) -> httpx.Response:
    await limit_pages(app, 1)
    return await client.post("/api/projects", json=large_project())


OF_CONNECTIONS = {"headers_too_large", "too_many_connections", "uri_too_long"}
"""What no HTTP client would send: the tests over a real connection produce them."""


async def test_what_is_not_there_is_told_by_every_route_that_names_it(
    client: httpx.AsyncClient,
) -> None:
    """So a new `…_not_found` needs no producer of its own."""
    resources = Resources(client)
    told = set()
    for call in all_calls():
        if call.method == "GET" and call.scope is not None:
            for missing in call.names:
                names = {name: await resources.get(name) for name in call.names}
                names[missing] = ABSENT.get(missing, ABSENT_ID)
                answer = await send(client, call, names)
                told.add(problem(answer, answer.json()["code"])["code"])
    assert told == {code for code in ERROR_TABLE if code.endswith("_not_found")}


@pytest.mark.parametrize("code", PRODUCERS)
async def test_the_code_is_produced(
    client: httpx.AsyncClient, application: FastAPI, code: str
) -> None:
    problem(await PRODUCERS[code](client, application), code)


def test_there_is_no_code_that_nobody_produces() -> None:
    others = {code for code in ERROR_TABLE if not code.endswith("_not_found")}
    assert set(PRODUCERS) | OF_CONNECTIONS == others
