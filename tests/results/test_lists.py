"""The results of a run: filtered, in pages, and counted."""

from itertools import product
from typing import Any

import httpx
import pytest

from tests.results.support import Json, listed, make_run, results, upload
from tests.support.clients import AsToken
from tests.support.http import make_project, places, problem

STATUSES = ["pending", "running", "passed", "failed", "skipped", "error"]


async def walk(client: httpx.AsyncClient, run_id: int, **params: Any) -> list[Json]:
    """All results of a list, page by page; every page must have the same summary."""
    found: list[Json] = []
    summaries = []
    while True:
        page = await listed(client, run_id, **params)
        assert page.keys() == {"test_results", "summary", "next_cursor"}
        assert len(page["test_results"]) <= params["limit"]
        found += page["test_results"]
        summaries.append(page["summary"])
        if page["next_cursor"] is None:
            assert summaries == summaries[:1] * len(summaries)
            return found
        params["cursor"] = page["next_cursor"]


@pytest.fixture
async def filled(client: httpx.AsyncClient, run_id: int) -> list[Json]:
    """36 results of 2 types and all statuses, the newest first; another run has results, too."""
    tests = [
        f"{kind}/t{n}/{status}" for n in range(3) for status in STATUSES for kind in ("unit", "e2e")
    ]
    unique = [test.replace("/t", f"/{n}-t") for n, test in enumerate(tests)]
    await upload(client, run_id, results(*unique))
    other = await make_run(client)
    await upload(client, other["id"], results("unit/a/passed"))
    page = await listed(client, run_id, limit=500)
    found: list[Json] = page["test_results"]
    assert [item["test_name"].split("-")[0] for item in found] == [
        str(n) for n in reversed(range(36))
    ]
    return found


@pytest.mark.shared
@pytest.mark.parametrize("status", [None, *STATUSES])
async def test_a_list_has_what_its_filters_say_newest_first(
    client: httpx.AsyncClient,
    run_id: int,
    filled: list[Json],
    status: str | None,
) -> None:
    for limit, test_type in product((1, 5, 36, 500), (None, "unit", "none")):
        wanted = {"status": status, "test_type": test_type}
        params = {name: value for name, value in wanted.items() if value is not None}
        assert await walk(client, run_id, limit=limit, **params) == [
            item for item in filled if all(item[name] == value for name, value in params.items())
        ]


async def test_the_summary_counts_all_results_whatever_the_filters(
    client: httpx.AsyncClient, run_id: int
) -> None:
    assert await listed(client, run_id) == {
        "test_results": [],
        "summary": {"flaky": 0},
        "next_cursor": None,
    }
    await upload(client, run_id, results("unit/a/passed", "unit/b/passed", "e2e/c/error"))
    for params in ({}, {"status": "skipped"}, {"test_type": "none"}, {"limit": 1}):
        assert (await listed(client, run_id, **params))["summary"] == {
            "error": 1,
            "passed": 2,
            "flaky": 0,
        }


@pytest.mark.usefixtures("filled")
async def test_a_cursor_belongs_to_its_run_and_filters(
    client: httpx.AsyncClient, run_id: int
) -> None:
    cursor = (await listed(client, run_id, limit=1, status="passed"))["next_cursor"]
    other = (await make_run(client))["id"]
    for wrong_run, params in (
        (run_id, {}),
        (run_id, {"status": "failed"}),
        (run_id, {"status": "passed", "test_type": "unit"}),
        (run_id, {"status": "passed", "attempts": "all"}),
        (other, {"status": "passed"}),
    ):
        path = f"/api/agent-runs/{wrong_run}/test-results"
        problem(await client.get(path, params={**params, "cursor": cursor}), "bad_cursor")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("status=Passed", "/query/status"),
        (f"test_type={'x' * 101}", "/query/test_type"),
        ("limit=0", "/query/limit"),
        ("limit=501", "/query/limit"),
        ("attempts=ALL", "/query/attempts"),
        ("attempts=1", "/query/attempts"),
    ],
)
async def test_a_wrong_filter_is_told(
    client: httpx.AsyncClient, run_id: int, query: str, place: str
) -> None:
    assert places(await client.get(f"/api/agent-runs/{run_id}/test-results?{query}")) == [place]


async def test_results_and_snapshots_of_invisible_projects_look_like_none(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    hidden, seen = await make_run(client), await make_run(client)
    body = {"test_type": "unit", "test_name": "a", "status": "passed"}
    made = []
    for run in (hidden, seen):
        await upload(client, run["id"], body)
        path = f"/api/agent-runs/{run['id']}/snapshots"
        made.append((await client.post(path, json={"snapshot_id": "s"})).json())
    bound = await as_token("runs:read", "runs:write", project_ids=[seen["project_id"]])
    calls: list[tuple[str, str, Any, str, int]] = [
        ("GET", "/api/agent-runs/{}/test-results", None, "agent_run_not_found", hidden["id"]),
        ("POST", "/api/agent-runs/{}/test-results", body, "agent_run_not_found", hidden["id"]),
        ("GET", "/api/agent-runs/{}/snapshots", None, "agent_run_not_found", hidden["id"]),
        (
            "POST",
            "/api/agent-runs/{}/snapshots",
            {"snapshot_id": "t"},
            "agent_run_not_found",
            hidden["id"],
        ),
        ("GET", "/api/snapshots/{}", None, "snapshot_not_found", made[0]["id"]),
        (
            "PATCH",
            "/api/snapshots/{}",
            {"status": "ready"},
            "snapshot_not_found",
            made[0]["id"],
        ),
        (
            "GET",
            "/api/projects/{}/test-history",
            None,
            "project_not_found",
            hidden["project_id"],
        ),
    ]
    for method, path, data, code, number in calls:
        answers = [
            await bound.request(method, path.format(n), json=data, headers={"X-Request-ID": "same"})
            for n in (number, 99)
        ]
        problem(answers[0], code)
        assert answers[0].content == answers[1].content
    assert (await bound.get(f"/api/snapshots/{made[1]['id']}")).json() == made[1]
    assert (await client.get(f"/api/snapshots/{made[0]['id']}")).json() == made[0]


async def test_each_call_asks_for_its_scope(client: httpx.AsyncClient, as_token: AsToken) -> None:
    project = await make_project(client)
    run = await make_run(client, project["id"])
    path = f"/api/agent-runs/{run['id']}"
    snapshot = (await client.post(f"{path}/snapshots", json={"snapshot_id": "s"})).json()
    calls = [
        ("GET", f"{path}/test-results", "runs:read"),
        ("POST", f"{path}/test-results", "runs:write"),
        ("GET", f"/api/projects/{project['id']}/test-history", "runs:read"),
        ("GET", f"{path}/snapshots", "runs:read"),
        ("POST", f"{path}/snapshots", "runs:write"),
        ("GET", f"/api/snapshots/{snapshot['id']}", "runs:read"),
        ("PATCH", f"/api/snapshots/{snapshot['id']}", "runs:write"),
    ]
    reader, other = await as_token("runs:read"), await as_token("projects:write", "logs:read")
    for method, url, scope in calls:
        assert problem(await other.request(method, url), "forbidden")["scope"] == scope
        answer = await reader.request(method, url)
        if scope == "runs:read":
            assert answer.status_code == 200
        else:
            assert problem(answer, "forbidden")["scope"] == scope
