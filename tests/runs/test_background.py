"""The running service takes expired runs back without a request."""

import asyncio

import httpx
from fastapi import FastAPI

from backend.main import create_app
from config.settings import Settings
from tests.support.clients import client_of, token_of_first_start
from tests.support.servers import PATIENCE


async def claimed_for_a_second(client: httpx.AsyncClient) -> str:
    """The path of a new run, claimed with the shortest possible lease."""
    project = {"name": "p", "github_owner": "acme", "github_repo": "p"}
    assert (await client.post("/api/projects", json=project)).status_code == 201
    run = {"project_id": 1, "target_text": "x"}
    assert (await client.post("/api/agent-runs", json=run)).status_code == 201
    claim = {"worker": "w", "lease_seconds": 1}
    assert (await client.post("/api/agent-runs/claim", json=claim)).status_code == 200
    return "/api/agent-runs/1"


async def until_pending(client: httpx.AsyncClient, path: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await client.get(path)).json()["status"] != "pending":
            await asyncio.sleep(0.05)


async def test_a_lease_that_runs_out_is_taken_back_without_a_request(
    client: httpx.AsyncClient,
) -> None:
    await until_pending(client, await claimed_for_a_second(client))


async def test_a_lease_is_taken_back_after_a_restart(
    application: FastAPI, client: httpx.AsyncClient, settings: Settings
) -> None:
    path = await claimed_for_a_second(client)
    await application.state.runtime.stop()
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        client_of(app, token_of_first_start(settings)) as after,
    ):
        await until_pending(after, path)
