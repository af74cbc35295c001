"""Retention over HTTP: its limits and state, requests to apply it, and who may send them."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.services.operations.pruner import Pruner
from config.settings import Settings
from tests.retention.data import rows
from tests.support.http import manager_of, problem
from tests.support.logs import log

PATH = "/api/retention"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Only five logs are kept."""
    limits = {"keep_logs": 5, "keep_runs": 7, "keep_runs_days": 3, "keep_audit_days": 400}
    return settings.model_copy(update=limits)


async def send(client: httpx.AsyncClient, count: int) -> None:
    for start in range(0, count, 1000):
        logs = [log(f"number {start + n}") for n in range(min(1000, count - start))]
        assert (await client.post("/api/logs", json={"logs": logs})).status_code == 201


async def status(client: httpx.AsyncClient) -> Any:
    answer = await client.get(PATH)
    assert answer.status_code == 200
    return answer.json()


async def settled(application: FastAPI) -> None:
    """Wait for the removal that began at the start."""
    pruner: Pruner = application.state.runtime.pruner
    await pruner.start()


async def test_the_limits_and_what_is_beyond_them_are_told(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await settled(application)
    await send(client, 12)
    told = await status(client)
    assert told["limits"] == {
        "logs": {"days": 30, "newest": 5},
        "own_logs": {"days": 30, "newest": 100_000},
        "runs": {"days": 3, "newest": 7},
        "deliveries": {"days": 30, "newest": None},
        "configuration_versions": {"days": None, "newest": 100},
        "secret_versions": {"days": None, "newest": 10},
        "deleted_secrets": {"days": 30, "newest": None},
        "audit": {"days": 400, "newest": None},
    }
    plan = told["would_remove"]
    assert plan["logs"]["rows"] == 7
    assert 7 * 200 < plan["logs"]["bytes"] < 7 * 500
    assert plan["runs"] == plan["deliveries"] == plan["audit"] == {"rows": 0, "bytes": 0}
    assert told["prune"]["status"] == "completed"
    assert told["prune"]["removed"] == dict.fromkeys(plan, 0)


async def test_a_removal_that_was_asked_for_is_recorded(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await settled(application)
    await send(client, 12)
    answer = await client.post(f"{PATH}/prune")
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert answer.json()["removed"] == {
        "logs": 7,
        "own_logs": 0,
        "runs": 0,
        "deliveries": 0,
        "answers": 0,
        "configuration_versions": 0,
        "secret_versions": 0,
        "deleted_secrets": 0,
        "audit": 0,
    }
    assert (await status(client))["prune"] == answer.json()
    assert (await status(client))["would_remove"]["logs"]["rows"] == 0
    assert await rows(manager_of(application), "system_logs", "message") == [
        "number 10",
        "number 11",
        *(f"number {n}" for n in range(7, 10)),
    ]
    entries = (await client.get("/api/audit?action=retention.applied")).json()["entries"]
    assert [(entry["actor"], entry["target"]) for entry in entries] == [
        ("admin", "retention/limits")
    ]


async def test_a_long_removal_goes_on_after_the_answer(
    application: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(application)
    await send(client, 3_000)
    monkeypatch.setattr("backend.services.operations.pruner.ANSWER_SECONDS", 0)
    answer = await client.post(f"{PATH}/prune")
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"
    assert answer.json()["finished_at"] is None
    # A second request joins the same removal.
    pruner: Pruner = application.state.runtime.pruner
    assert (await pruner.start()).logs == 2_995
    told = (await status(client))["prune"]
    assert (told["status"], told["removed"]["logs"]) == ("completed", 2_995)


async def test_the_start_begins_a_removal_by_itself(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await send(client, 20)
    pruner: Pruner = application.state.runtime.pruner
    await settled(application)
    await pruner.wake()
    await settled(application)
    assert (await status(client))["would_remove"]["logs"]["rows"] == 0
    # The service started it itself, so the audit has no entry.
    assert (await client.get("/api/audit?action=retention.applied")).json()["entries"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", f"{PATH}/prune")])
async def test_only_administrators_may(client: httpx.AsyncClient, method: str, path: str) -> None:
    body = {"name": "b", "scopes": ["logs:read", "logs:write", "runs:write", "projects:write"]}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    answer = await client.request(method, path, headers={"Authorization": f"Bearer {token}"})
    assert problem(answer, "forbidden")["scope"] == "admin"
    problem(await client.request(method, path, headers={"Authorization": ""}), "unauthenticated")
