"""A token that is bound to projects sees and writes only their logs."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.clients import client_of, new_token
from tests.support.http import make_project, places, problem
from tests.support.logs import log


@pytest.fixture
async def projects(client: httpx.AsyncClient) -> list[int]:
    """Three projects with a run each, of the same ids, and logs of each project and of none."""
    ids = [(await make_project(client))["id"] for _ in range(3)]
    for project_id in ids:
        body = {"project_id": project_id, "target_text": "x"}
        assert (await client.post("/api/agent-runs", json=body)).status_code == 201
    logs = [
        log("of none", "ERROR", component="c", correlation_id="x"),
        *(log(f"of project {id}", "ERROR", component="c", project_id=id) for id in ids),
        *(log(f"of run {id}", "ERROR", correlation_id="x", agent_run_id=id) for id in ids),
    ]
    assert (await client.post("/api/logs", json={"logs": logs})).status_code == 201
    return ids


async def bound_to(
    application: FastAPI, client: httpx.AsyncClient, **token: Any
) -> httpx.AsyncClient:
    """A client whose token is bound to these projects."""
    scopes = token.pop("scopes", ["logs:read", "logs:write"])
    return client_of(application, await new_token(client, *scopes, **token))


@pytest.fixture
async def bound(
    application: FastAPI, client: httpx.AsyncClient, projects: list[int]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is bound to the second and the third project."""
    async with await bound_to(application, client, project_ids=projects[1:]) as bound:
        yield bound


async def messages(client: httpx.AsyncClient, query: str) -> list[str]:
    answer = await client.get(f"/api/logs{query}")
    assert answer.status_code == 200, answer.text
    return [item["message"] for item in answer.json()["logs"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["of run 3", "of run 2", "of project 3", "of project 2"]),
        ("?level=ERROR", ["of run 3", "of run 2", "of project 3", "of project 2"]),
        ("?component=c", ["of project 3", "of project 2"]),
        ("?correlation_id=x", ["of run 3", "of run 2"]),
        ("?q=project", ["of project 3", "of project 2"]),
        ("?q=of&component=c&level=ERROR", ["of project 3", "of project 2"]),
        ("?q=none", []),
        ("?project_id=2", ["of run 2", "of project 2"]),
        ("?project_id=1", []),
        ("?project_id=99", []),
        ("?agent_run_id=3", ["of run 3"]),
        ("?agent_run_id=1", []),
        ("?project_id=1&q=of", []),
        ("?since=2020-01-01T00:00:00Z&q=run", ["of run 3", "of run 2"]),
    ],
)
async def test_only_the_projects_of_the_token_are_listed(
    bound: httpx.AsyncClient, query: str, expected: list[str]
) -> None:
    assert await messages(bound, query) == expected


async def test_labels_in_a_message_show_it_to_no_other_token(
    client: httpx.AsyncClient, bound: httpx.AsyncClient
) -> None:
    body = log("p2 p3 l40 of project 2", project_id=1)
    assert (await client.post("/api/logs", json=body)).status_code == 201
    assert await messages(bound, "?q=p2") == []
    assert await messages(bound, "?q=of&level=ERROR&project_id=2") == ["of run 2", "of project 2"]


@pytest.mark.parametrize("own", [{"project_id": 2}, {"agent_run_id": 3}])
async def test_logs_of_its_own_projects_are_taken(bound: httpx.AsyncClient, own: Any) -> None:
    answer = await bound.post("/api/logs", json=log("mine", **own))
    assert (answer.status_code, answer.json()) == (201, {"accepted": 1})
    assert (await messages(bound, ""))[0] == "mine"


@pytest.mark.parametrize(
    ("others", "missing", "code"),
    [
        ({"project_id": 1}, {"project_id": 99}, "project_not_found"),
        ({"agent_run_id": 1}, {"agent_run_id": 99}, "agent_run_not_found"),
        (
            {"project_id": 2, "agent_run_id": 1},
            {"project_id": 2, "agent_run_id": 99},
            "agent_run_not_found",
        ),
    ],
)
async def test_another_project_looks_like_none(
    client: httpx.AsyncClient,
    bound: httpx.AsyncClient,
    others: Any,
    missing: Any,
    code: str,
) -> None:
    headers = {"X-Request-ID": "the-same"}
    answers = [
        await bound.post(
            "/api/logs",
            json={"logs": [log("x", project_id=2), log("y", **fields)]},
            headers=headers,
        )
        for fields in (others, missing)
    ]
    assert answers[0].content == answers[1].content
    problem(answers[0], code)
    assert (await messages(client, ""))[0] == "of run 3"


@pytest.mark.shared
async def test_a_log_of_no_project_needs_a_token_of_all(
    client: httpx.AsyncClient, bound: httpx.AsyncClient
) -> None:
    assert places(await bound.post("/api/logs", json=log())) == ["/project_id"]
    assert (await client.post("/api/logs", json=log())).status_code == 201


@pytest.mark.shared
@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [
        ("logs:read", 200, 403),
        ("logs:write", 403, 201),
        ("runs:write", 403, 403),
        ("admin", 200, 201),
    ],
)
async def test_each_call_needs_its_scope(
    application: FastAPI, client: httpx.AsyncClient, scope: str, reads: int, writes: int
) -> None:
    async with await bound_to(application, client, scopes=[scope]) as other:
        answers = [await other.get("/api/logs"), await other.post("/api/logs", json=log())]
    assert [answer.status_code for answer in answers] == [reads, writes]
    for answer, needed in zip(answers, ("logs:read", "logs:write"), strict=True):
        if answer.status_code == 403:
            assert problem(answer, "forbidden")["scope"] == needed


@pytest.mark.shared
async def test_reads_and_writes_need_a_token(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/api/logs", headers={"Authorization": ""}),
        await client.post("/api/logs", json=log(), headers={"Authorization": "Bearer sr_x"}),
    ):
        problem(answer, "unauthenticated")
