"""Runs of projects that a token is not bound to look as if they did not exist."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.clients import client_of, new_token
from tests.support.http import make_project, problem

CALLS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PATCH", "", {"pr_number": 1}),
    ("POST", "/transitions", {"to": "running"}),
    ("POST", "/cancel", {}),
    ("POST", "/heartbeat", {"lease_token": "x"}),
    ("GET", "/pipeline-states", None),
    ("POST", "/pipeline-states", {"state": "created"}),
    ("GET", "/messages", None),
    ("POST", "/messages", {"role": "user", "content": "x"}),
    ("POST", "/messages", {"role": "user", "content": "x", "continue": True}),
    ("POST", "/continue", {"message": "x"}),
]


@pytest.fixture
async def projects(client: httpx.AsyncClient) -> list[int]:
    """Three projects with two runs each: 1 and 4, 2 and 5, 3 and 6."""
    ids = [(await make_project(client))["id"] for _ in range(3)]
    for project_id in ids * 2:
        body = {"project_id": project_id, "target_text": "x"}
        assert (await client.post("/api/agent-runs", json=body)).status_code == 201
    return ids


@pytest.fixture
async def bound(
    application: FastAPI, client: httpx.AsyncClient, projects: list[int]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose token is bound to the second and the third project."""
    token = await new_token(client, "runs:read", "runs:write", project_ids=projects[1:])
    async with client_of(application, token) as other:
        yield other


async def ids(client: httpx.AsyncClient, query: str = "") -> list[int]:
    answer = await client.get(f"/api/agent-runs{query}")
    assert answer.status_code == 200
    return [run["id"] for run in answer.json()["agent_runs"]]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_a_run_of_another_project_looks_like_none(
    client: httpx.AsyncClient, bound: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    before = (await client.get("/api/agent-runs/1")).json()
    answers = [
        await bound.request(
            method,
            f"/api/agent-runs/{run_id}{path}",
            headers={"X-Request-ID": "same"},
            **({} if body is None else {"json": body}),
        )
        for run_id in (1, 99)
    ]
    assert problem(answers[0], "agent_run_not_found")
    assert answers[0].content == answers[1].content
    assert (await client.get("/api/agent-runs/1")).json() == before
    # The same call reaches a visible run, even if it refuses the change.
    own = await bound.request(
        method, f"/api/agent-runs/2{path}", **({} if body is None else {"json": body})
    )
    assert own.status_code in (200, 201, 409)


async def test_a_list_has_the_runs_of_visible_projects(
    bound: httpx.AsyncClient, projects: list[int]
) -> None:
    assert await ids(bound) == [6, 5, 3, 2]
    assert await ids(bound, "?status=pending") == [6, 5, 3, 2]
    assert await ids(bound, f"?project_id={projects[1]}") == [5, 2]
    assert await ids(bound, f"?project_id={projects[0]}") == []
    seen: list[int] = []
    cursor = ""
    while True:
        page = (await bound.get(f"/api/agent-runs?limit=1{cursor}")).json()
        seen += [run["id"] for run in page["agent_runs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [6, 5, 3, 2]


async def test_a_run_can_not_be_made_in_another_project(
    client: httpx.AsyncClient, bound: httpx.AsyncClient, projects: list[int]
) -> None:
    answers = [
        await bound.post(
            "/api/agent-runs",
            json={"project_id": project_id, "target_text": "x"},
            headers={"X-Request-ID": "same"},
        )
        for project_id in (projects[0], 99)
    ]
    assert problem(answers[0], "project_not_found")
    assert answers[0].content == answers[1].content
    assert len(await ids(client)) == 6


async def test_a_claim_gives_runs_of_visible_projects_only(
    client: httpx.AsyncClient, bound: httpx.AsyncClient, projects: list[int]
) -> None:
    hidden = {"worker": "w", "project_ids": projects[:1]}
    assert (await bound.post("/api/agent-runs/claim", json=hidden)).status_code == 204
    got = []
    while (answer := await bound.post("/api/agent-runs/claim", json={"worker": "w"})).content:
        got.append(answer.json()["id"])
    assert got == [2, 3, 5, 6]
    assert answer.status_code == 204
    assert await ids(client, "?status=pending") == [4, 1]


async def test_reading_does_not_permit_writing(
    application: FastAPI, client: httpx.AsyncClient, projects: list[int]
) -> None:
    token = await new_token(client, "runs:read", project_ids=projects)
    async with client_of(application, token) as reader:
        for method, path, body_of_call in CALLS:
            answer = await reader.request(method, f"/api/agent-runs/1{path}", json=body_of_call)
            if method == "GET":
                assert answer.status_code == 200
            else:
                assert problem(answer, "forbidden")["scope"] == "runs:write"
        claim = await reader.post("/api/agent-runs/claim", json={"worker": "w"})
        assert problem(claim, "forbidden")["scope"] == "runs:write"
    assert await ids(client, "?status=pending") == [6, 5, 4, 3, 2, 1]
