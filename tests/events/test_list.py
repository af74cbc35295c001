"""Events as a list: the record from outside, by scope and by project."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.routes import POLICIES
from backend.services.kinds import Kind
from models import Scope
from tests.support.clients import AsToken
from tests.support.http import make_project, manager_of, places, problem, walk
from tests.support.resources import Resources

MEMBERS = {"id", "at", "kind", "project_id", "resource", "version", "actor", "fields"}


async def events_of(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/events", params={"limit": 500, **params})
    assert answer.status_code == 200, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def test_an_admin_sees_the_whole_record_densely(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await Resources(client).all()
    await client.get("/api/projects/1/secrets/KEY/value")
    events = await events_of(client)
    rows = manager_of(application).execute_query("SELECT * FROM audit_entries ORDER BY id")
    assert [event["id"] for event in events] == list(range(1, len(rows) + 1))
    for event, row in zip(events, rows, strict=True):
        assert event.keys() == MEMBERS
        for name, column in {"kind": "action"}.items():
            assert event[name] == row[column]
        for name in ("at", "project_id", "version", "actor"):
            assert event[name] == row[name]


async def test_a_resource_is_named_by_its_path(client: httpx.AsyncClient) -> None:
    resources = Resources(client)
    await resources.all()
    run = await resources.get("run_id")
    await client.post(
        f"/api/agent-runs/{run}/test-results",
        json={"test_type": "unit", "test_name": "n", "status": "passed"},
    )
    named = {event["kind"]: event["resource"] for event in await events_of(client)}
    assert named["agent_run.created"] == f"agent-runs/{run}"
    assert named["test_results.stored"] == f"agent-runs/{run}/test-results"
    for kind, resource in named.items():
        if kind.startswith(("token.", "backup.", "keys.", "delivery.")):
            continue
        assert (await client.get(f"/api/{resource}")).status_code == 200, (kind, resource)
        found = await events_of(client, resource=resource)
        assert found
        assert {event["resource"] for event in found} == {resource}


@pytest.mark.parametrize("size", [1, 7])
async def test_pages_follow_one_another(client: httpx.AsyncClient, size: int) -> None:
    for _ in range(4):
        await make_project(client, settings={"planning_statement": "p"})
    everything = await events_of(client)
    assert await walk(client, "/api/events", "events", limit=size) == everything
    after = everything[3]["id"]
    found = await walk(client, "/api/events", "events", limit=size, after=after)
    assert found == everything[4:]
    assert await events_of(client, after=0) == everything


async def test_filters_mean_any_of_their_values_and_all_of_them(client: httpx.AsyncClient) -> None:
    first = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    await make_project(client, secrets=[{"key": "A", "value": "v"}])
    of_kinds = await events_of(client, kind=["secret.created", "token.created"])
    assert [event["kind"] for event in of_kinds] == [
        "token.created",
        "secret.created",
        "secret.created",
    ]
    of_project = await events_of(client, project_id=first["id"], kind="secret.created")
    assert [event["resource"] for event in of_project] == [f"projects/{first['id']}/secrets/A"]


def expected_for(events: list[dict[str, Any]], scope: Scope) -> list[int]:
    """The ids of the events that a token with this scope alone may see."""
    scopes = {kind.value: kind.scope for kind in Kind}
    return [
        event["id"] for event in events if scope is Scope.ADMIN or scopes[event["kind"]] is scope
    ]


async def test_each_scope_sees_its_kinds_and_no_others(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    await Resources(client).all()
    await client.get("/api/projects/1/secrets/KEY/value")
    policy = POLICIES["GET", "/api/events"]
    enough = {policy.scope, *policy.or_scopes, Scope.ADMIN}
    assert enough == {kind.scope for kind in Kind}
    tokens = {scope: await as_token(scope) for scope in Scope}
    events = await events_of(client)
    for scope, token in tokens.items():
        if scope in enough:
            seen = [event["id"] for event in await events_of(token)]
            assert seen == expected_for(events, scope), scope
            assert seen, scope
        else:
            refused = problem(await token.get("/api/events"), "forbidden")
            assert refused["scope"] == policy.scope


async def test_a_bound_token_sees_its_projects_alone(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    other = await make_project(client, settings={"planning_statement": "p"})
    own = await make_project(client, settings={"planning_statement": "p"})
    for scopes in (("admin",), ("projects:read", "runs:read", "audit:read")):
        bound = await as_token(*scopes, project_ids=[own["id"]])
        events = await events_of(bound)
        assert [event["kind"] for event in events] == ["project.created", "settings.created"]
        assert {event["project_id"] for event in events} == {own["id"]}
        assert await events_of(bound, project_id=other["id"]) == []
        assert await events_of(bound, resource=f"projects/{other['id']}") == []


@pytest.mark.shared
@pytest.mark.parametrize("after", ["-1", "x", "1-", "-", "01", "0-1", "1-2-3", "9" * 19, "1 "])
async def test_a_place_that_is_none_is_refused(client: httpx.AsyncClient, after: str) -> None:
    for path, name in (("/api/events", "after"), ("/api/logs", "after_id")):
        answer = await client.get(path, params={name: after})
        assert places(answer) == [f"/query/{name}"]
        assert after not in answer.text or len(after) < 3


@pytest.mark.shared
async def test_a_place_of_another_epoch_is_refused_by_a_list(client: httpx.AsyncClient) -> None:
    for path, name in (("/api/events", "after"), ("/api/logs", "after_id")):
        problem(await client.get(path, params={name: "77-1"}), "bad_request")
        assert (await client.get(path, params={name: "1-0"})).status_code == 200


async def test_logs_after_an_id_come_oldest_first(client: httpx.AsyncClient) -> None:
    logs = [{"level": "INFO", "message": f"number {n}"} for n in range(9)]
    await client.post("/api/logs", json={"logs": logs})
    newest_first = await walk(client, "/api/logs", "logs", limit=4)
    for params in ({}, {"q": "number"}, {"level": "INFO", "q": "number"}):
        found = await walk(client, "/api/logs", "logs", limit=4, after_id=2, **params)
        assert found == newest_first[::-1][2:]
