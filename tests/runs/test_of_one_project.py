"""`/api/projects/{project_id}/agent-runs` is `/api/agent-runs` for one project."""

from typing import Any

import httpx
import pytest

from tests.support.api import Api
from tests.support.clients import AsToken
from tests.support.http import make_project, places, problem

FLAT = "/api/agent-runs"
LIST = "/api/projects/2/agent-runs"
QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"limit": 2},
    {"status": ["running", "pending"], "sort": "updated_at"},
    {"run_type": ["plan", "pr"], "limit": 1, "sort": "created_at"},
    {"worker": "w", "limit": 1},
    {"q": "do it", "status": ["pending"], "sort": "-updated_at"},
    {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z", "q": "it"},
    {"until": "2020-01-01T00:00:00Z"},
)


@pytest.fixture
async def runs(api: Api) -> None:
    """Runs in two projects, some of them claimed."""
    # A test before this one may have made those of a shared API.
    if (await api.get(FLAT))["agent_runs"]:
        return
    second = await api.new_project("second")
    assert second == 2
    for number in range(4):
        for project in (1, second):
            await api.new_run(project, run_type=("plan", "regular", "pr")[number % 3])
    for _ in range(3):
        await api.claim()


@pytest.mark.parametrize("params", QUERIES, ids=str)
@pytest.mark.usefixtures("runs")
@pytest.mark.shared
async def test_its_list_is_the_list_of_all_runs_with_this_project(
    api: Api, params: dict[str, Any]
) -> None:
    cursor: dict[str, str] = {}
    while True:
        flat = await api.client.get(FLAT, params={**params, **cursor, "project_id": 2})
        one = await api.client.get(LIST, params={**params, **cursor})
        assert one.status_code == flat.status_code == 200
        assert one.content == flat.content
        assert one.headers["ETag"] == flat.headers["ETag"]
        assert one.headers["ETag"].startswith('W/"')
        known = {"If-None-Match": one.headers["ETag"]}
        again = await api.client.get(LIST, params={**params, **cursor}, headers=known)
        assert again.status_code == 304
        if one.json()["next_cursor"] is None:
            return
        # A page of one list leads to the next page of the other.
        cursor = {"cursor": one.json()["next_cursor"]}


@pytest.mark.usefixtures("runs")
@pytest.mark.shared
async def test_only_the_path_names_the_project_of_a_list(api: Api) -> None:
    for id in (1, 2):
        assert places(await api.client.get(LIST, params={"project_id": id})) == [
            "/query/project_id"
        ]
    problem(await api.client.get("/api/projects/9/agent-runs"), "project_not_found")


def without(run: dict[str, Any]) -> dict[str, Any]:
    """The run without what differs between any two runs."""
    return {
        name: value
        for name, value in run.items()
        if name not in ("id", "run_number", "created_at", "updated_at")
    }


@pytest.mark.parametrize("named", [{}, {"project_id": 2}, {"project_id": 2, "id": 7, "version": 9}])
@pytest.mark.usefixtures("runs")
async def test_a_run_is_created_the_same_way(api: Api, named: dict[str, int]) -> None:
    body = {"target_text": "Do it", "run_type": "plan", "metadata": {"a": 1}}
    flat = await api.client.post(FLAT, json={**body, "project_id": 2})
    one = await api.client.post(LIST, json={**body, **named})
    assert one.status_code == flat.status_code == 201
    made = one.json()
    assert without(made) == without(flat.json())
    assert made["run_number"] == flat.json()["run_number"] + 1
    assert one.headers["Location"] == f"/api/agent-runs/{made['id']}"
    assert one.headers["ETag"] == flat.headers["ETag"] == '"v1"'
    assert await api.run(made["id"]) == made
    assert (await api.actions())[-1][1:] == ("agent_run.created", f"agent_runs/{made['id']}")


@pytest.mark.parametrize("project_id", [1, 99, "2", None, 0])
@pytest.mark.usefixtures("runs")
async def test_a_project_in_the_body_is_ignored(api: Api, project_id: Any) -> None:
    made = await api.post(LIST, {"target_text": "x", "project_id": project_id}, 201)
    assert made["project_id"] == 2


@pytest.mark.usefixtures("runs")
async def test_one_key_makes_one_run_whichever_way(api: Api) -> None:
    key, body = {"Idempotency-Key": "one"}, {"target_text": "x", "project_id": 2}
    first = await api.client.post(LIST, json=body, headers=key)
    again = await api.client.post(LIST, json=body, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    for name in ("Location", "ETag"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["Idempotency-Replayed"] == "true"
    # The other path makes it another request.
    problem(await api.client.post(FLAT, json=body, headers=key), "idempotency_key_reused")


async def test_it_needs_the_same_scopes_and_a_visible_project(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    for _ in range(2):
        await make_project(client)
    body = {"target_text": "x"}
    reader = await as_token("runs:read", project_ids=[2])
    assert (await reader.get(LIST)).status_code == 200
    problem(await reader.post(LIST, json=body), "forbidden")
    writer = await as_token("runs:write", project_ids=[2])
    problem(await writer.get(LIST), "forbidden")
    assert (await writer.post(LIST, json=body)).status_code == 201
    other = "/api/projects/1/agent-runs"
    problem(await reader.get(other), "project_not_found")
    problem(await writer.post(other, json=body), "project_not_found")
