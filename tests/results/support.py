"""Runs, and uploads to them."""

from typing import Any

import httpx

from tests.support.http import make_project

Json = dict[str, Any]
XML = {"Content-Type": "application/xml"}


async def make_run(client: httpx.AsyncClient, project_id: int | None = None) -> Json:
    """A new run, in a new project unless one is given."""
    if project_id is None:
        project_id = (await make_project(client))["id"]
    body = {"project_id": project_id, "target_text": "x"}
    response = await client.post("/api/agent-runs", json=body)
    assert response.status_code == 201, response.text
    run: Json = response.json()
    return run


async def upload(client: httpx.AsyncClient, run_id: int, body: Any) -> Json:
    """The answer to an upload of test results."""
    response = await client.post(f"/api/agent-runs/{run_id}/test-results", json=body)
    assert response.status_code == 201, response.text
    answer: Json = response.json()
    return answer


async def send_xml(client: httpx.AsyncClient, run_id: int, body: bytes, **params: Any) -> Json:
    """The answer to an upload of JUnit XML."""
    path = f"/api/agent-runs/{run_id}/test-results"
    response = await client.post(path, content=body, headers=XML, params=params)
    assert response.status_code == 201, response.text
    answer: Json = response.json()
    return answer


def results(*tests: str, **fields: Any) -> Json:
    """A batch of results, with each test given as `type/name/status`."""
    parts = [test.split("/") for test in tests]
    return {
        "test_results": [
            {"test_type": kind, "test_name": name, "status": status, **fields}
            for kind, name, status in parts
        ]
    }


async def listed(client: httpx.AsyncClient, run_id: int, **params: Any) -> Json:
    """One page of a run's results."""
    response = await client.get(f"/api/agent-runs/{run_id}/test-results", params=params)
    assert response.status_code == 200, response.text
    page: Json = response.json()
    return page


async def actions(client: httpx.AsyncClient, prefix: str) -> list[Json]:
    """The audit's entries with this prefix, the oldest first, without ids and times."""
    entries = (await client.get("/api/audit", params={"limit": 500})).json()["entries"]
    return [
        {name: entry[name] for name in ("action", "target", "project_id", "fields")}
        for entry in reversed(entries)
        if entry["action"].startswith(prefix)
    ]
