"""Every versioned resource, every list and every change of them takes part in conditional requests.
The routes are found in the OpenAPI document."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http.state import state_of
from backend.main import create_app
from backend.routes import POLICIES
from config.settings import Settings
from tests.support.clients import client_of, token_of_first_start
from tests.support.http import all_rows, manager_of, problem
from tests.support.resources import Resources
from tests.support.routes import Call, all_calls, send

CALLS = list(all_calls())
STALE = '"v987654"'
NO_CHANGE = {
    "POST /api/agent-runs/{run_id}/transitions": "a pending run can't be completed",
    "POST /api/agent-runs/{run_id}/continue": "a pending run is not paused",
    "POST /api/agent-runs/{run_id}/heartbeat": "the run has no lease",
}
"""Changes that are refused for what the example names, even with the present tag."""


def shape(call: Call, status: str = "200") -> dict[str, Any]:
    """The schema of the JSON that the call answers with."""
    content = call.responses.get(status, {}).get("content", {})
    return call.resolved(content.get("application/json", {}).get("schema", {}))


def is_versioned(schema: dict[str, Any]) -> bool:
    """Whether this is a resource that counts its changes."""
    members: dict[str, Any] = schema.get("properties", {})
    return {"id", "version"} <= members.keys()


def is_list(call: Call) -> bool:
    """Whether the call answers a list, or several resources in one."""
    members = shape(call).get("properties", {})
    return "next_cursor" in members or any(is_versioned(call.resolved(m)) for m in members.values())


RESOURCES = [c for c in CALLS if c.method == "GET" and is_versioned(shape(c))]
TOKENS = [c for c in CALLS if c.template.startswith("/api/tokens")]
LISTS = [c for c in CALLS if c.method == "GET" and is_list(c) and c not in TOKENS]
_PLACES = {call.template: call for call in RESOURCES}


def resource_of(call: Call) -> Call | None:
    """The call that reads what this one changes: itself, or what it has a verb for."""
    if call.method == "GET" or call in TOKENS:
        return None
    if call.template in _PLACES:
        return _PLACES[call.template]
    of, _, version = call.template.partition("/versions/")
    if version:
        # To destroy a version changes its resource.
        return _PLACES[of] if call.method == "DELETE" else None
    of = call.template.rpartition("/")[0]
    is_verb = call.method == "POST" and is_versioned(shape(call))
    may_change = POLICIES[call.method, call.template].may_change
    return _PLACES.get(of) if is_verb or may_change else None


WRITES = [call for call in CALLS if resource_of(call) is not None]
OTHERS = [c for c in CALLS if c not in RESOURCES + LISTS + WRITES]


def test_the_document_tells_which_calls_take_part() -> None:
    assert len(RESOURCES) >= 7
    assert len(LISTS) >= 12
    assert {str(call) for call in WRITES} >= {
        *("PUT /api/projects/{project_id}", "DELETE /api/projects/{project_id}"),
        *("POST /api/projects/{project_id}/restore", "POST /api/agent-runs/{run_id}/cancel"),
        *("PATCH /api/projects/{project_id}/configuration", "PATCH /api/snapshots/{snapshot_id}"),
        *("DELETE /api/webhooks/{webhook_id}", "POST /api/agent-runs/{run_id}/transitions"),
        *("PUT /api/projects/{project_id}/secrets/{key}", "PATCH /api/webhooks/{webhook_id}"),
        *("DELETE /api/projects/{project_id}/secrets/{key}", "PATCH /api/agent-runs/{run_id}"),
    }
    for call in CALLS:
        headers = {parameter["name"] for parameter in call.parameters("header")}
        takes = call in RESOURCES + LISTS + WRITES
        assert ({"If-Match", "If-None-Match"} <= headers) is takes, str(call)
        assert ("412" in call.responses) is takes, str(call)
        assert ("304" in call.responses) is (call in RESOURCES + LISTS), str(call)
        for status in ("200", "201"):
            if status in call.responses:
                has_tag = call in LISTS or is_versioned(shape(call, status))
                assert ("ETag" in call.responses[status]["headers"]) is has_tag, str(call)


@pytest.fixture(params=[True, False], ids=["direct", "through FastAPI"])
async def app(request: pytest.FixtureRequest, installed: Settings) -> AsyncIterator[FastAPI]:
    """The application, with direct calls and kept answers, and without both."""
    app = create_app(installed, direct=request.param)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app` with the admin's token."""
    token = token_of_first_start(state_of(app).settings)
    async with client_of(app, token) as client:
        yield client


@pytest.fixture
async def names(client: httpx.AsyncClient) -> dict[str, Any]:
    """A value for every name in a path."""
    return await Resources(client).all()


def tag_of(response: httpx.Response) -> str:
    """The tag of an answer, which has to say how it may be kept."""
    assert response.headers["Cache-Control"] == "private, no-cache"
    return str(response.headers["ETag"])


def unchanged(response: httpx.Response, tag: str) -> None:
    """Check an answer 304."""
    assert response.status_code == 304, response.text
    assert response.content == b""
    assert tag_of(response) == tag
    assert "Content-Type" not in response.headers
    assert "Content-Length" not in response.headers
    assert response.headers["X-Request-ID"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_resource_has_its_version_as_its_tag(
    client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    for call in RESOURCES:
        response = await send(client, call, names)
        assert tag_of(response) == f'"v{response.json()["version"]}"', str(call)


async def test_a_list_has_a_weak_tag(client: httpx.AsyncClient, names: dict[str, Any]) -> None:
    for call in LISTS:
        first, again = [await send(client, call, names) for _ in range(2)]
        assert tag_of(first).startswith('W/"'), str(call)
        assert tag_of(first) == tag_of(again), str(call)


async def test_what_a_client_has_already_is_not_sent_again(
    client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    for call in RESOURCES + LISTS:
        tag = tag_of(await send(client, call, names))
        opaque = tag.removeprefix("W/")
        # A proxy that compresses makes a strong tag weak, and a client may know several.
        for known in (tag, f"W/{opaque}", opaque, f'"other", W/"x" ,{tag}', "*"):
            for _ in range(2):
                unchanged(await send(client, call, names, headers={"If-None-Match": known}), tag)
        path = call.template.format(**names)
        head = await client.head(path, headers={"If-None-Match": tag})
        unchanged(head, tag)
        for unknown in (STALE, 'W/"x"', f'"W/{opaque[1:]}'):
            response = await send(client, call, names, headers={"If-None-Match": unknown})
            assert (response.status_code, tag_of(response)) == (200, tag), str(call)


async def test_a_reader_can_demand_a_version(
    client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    for call in RESOURCES + LISTS:
        tag = tag_of(await send(client, call, names))
        for wanted, holds in ((STALE, False), ("*", True), (tag, call in RESOURCES)):
            response = await send(client, call, names, headers={"If-Match": wanted})
            if holds:
                assert response.status_code == 200, str(call)
            else:
                assert problem(response, "version_mismatch")["etag"] == tag == tag_of(response)


@pytest.mark.parametrize("call", WRITES, ids=str)
async def test_a_change_of_another_version_has_no_effect(
    call: Call, app: FastAPI, client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    resource = resource_of(call)
    assert resource is not None
    tag = tag_of(await send(client, resource, names))
    before = all_rows(manager_of(app))
    refusing: list[dict[str, str]] = [
        *({"If-Match": wanted} for wanted in (STALE, f"W/{tag}", f'{STALE}, W/{tag}, "v"')),
        *({"If-None-Match": known} for known in ("*", tag, f"W/{tag}")),
        {"If-Match": tag, "If-None-Match": tag},
    ]
    queries: list[dict[str, str]] = [{}, *([{"purge": "true"}] if "purge" in call.query else [])]
    for headers in refusing:
        for params in queries:
            response = await send(client, call, names, headers=headers, params=params)
            assert problem(response, "version_mismatch")["etag"] == tag, headers
            assert tag_of(response) == tag
    for malformed in ("v1", '"v1', 'w/"v1"', '"v1" "v2"', "", ",", "*, *", '"a\tb"', f"{tag}x"):
        for name in ("If-Match", "If-None-Match"):
            refused = await send(client, call, names, headers={name: malformed})
            detail = problem(refused, "bad_request")["detail"]
            assert name in detail
            assert "double quotes" in detail
    assert all_rows(manager_of(app)) == before


@pytest.mark.parametrize("call", WRITES, ids=str)
async def test_a_change_of_the_present_version_is_made(
    call: Call, client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    resource = resource_of(call)
    assert resource is not None
    tag = tag_of(await send(client, resource, names))
    response = await send(client, call, names, headers={"If-Match": f'"v7", {tag}'})
    if str(call) in NO_CHANGE:
        assert response.status_code == 409, response.text
        return
    assert response.is_success, response.text
    if not is_versioned(shape(call, str(response.status_code))):
        assert "ETag" not in response.headers
        return
    assert tag_of(response) == f'"v{response.json()["version"]}"'
    assert tag_of(response) == tag_of(await send(client, resource, names))


async def test_what_is_created_has_its_tag(
    client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    made = 0
    for call in CALLS:
        if call.method == "POST" and is_versioned(shape(call, "201")):
            for headers in ({}, {"If-Match": "malformed"}):
                response = await send(client, call, names, headers=headers)
                if response.status_code == 201:
                    made += 1
                    assert tag_of(response) == '"v1"'
                    read = await client.get(response.headers["Location"])
                    assert tag_of(read) == '"v1"'
    assert made >= 5


async def test_other_answers_have_no_tag(client: httpx.AsyncClient, names: dict[str, Any]) -> None:
    for call in OTHERS:
        response = await send(client, call, names, headers={"If-None-Match": "*", "If-Match": "?"})
        assert response.status_code not in (304, 412), str(call)
        if not is_versioned(shape(call, str(response.status_code))):
            assert "ETag" not in response.headers, str(call)
            assert response.headers["Cache-Control"] in ("no-store", "no-cache"), str(call)


async def test_a_malformed_header_of_a_reader_is_refused(
    client: httpx.AsyncClient, names: dict[str, Any]
) -> None:
    for call in RESOURCES + LISTS:
        for name in ("If-Match", "If-None-Match"):
            for _ in range(2):
                response = await send(client, call, names, headers={name: "v1"})
                assert name in problem(response, "bad_request")["detail"]
        # The other header can't hide it.
        for headers in (
            {"If-Match": STALE, "If-None-Match": "v1"},
            {"If-Match": "v1", "If-None-Match": "*"},
        ):
            problem(await send(client, call, names, headers=headers), "bad_request")
