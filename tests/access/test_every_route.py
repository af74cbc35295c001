"""Every route with every kind of token that is not sufficient, and with a sufficient one."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.crypto.token_format import parse_token, token_text
from backend.http.route_policy import ANY_TOKEN, OPEN
from backend.routes import POLICIES
from backend.services.principal import ADMIN
from config.settings import Settings
from database.base import utc_now
from models import Scope
from tests.support.clocks import SetClock
from tests.support.http import all_rows, manager_of, new_project, problem, service_of
from tests.support.resources import ABSENT, ABSENT_ID, SENTINEL, Resources, make
from tests.support.routes import Call, calls, hidden_routes, send

OTHERS = sorted(set(Scope) - {ADMIN})
OPEN_PAGES = {"/openapi.json", "/docs"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No limit on failed attempts, and guarded metrics as in production."""
    changes = {"failed_attempts_per_minute": 0, "host": "0.0.0.0"}  # noqa: S104 - no socket
    return settings.model_copy(update=changes)


@pytest.fixture
def resources(client: httpx.AsyncClient) -> Resources:
    """One of everything, in a project that the token under test must not see."""
    return Resources(client)


def guarded(app: FastAPI) -> list[Call]:
    found = [call for call in calls(app) if call.scope is not None]
    assert len(found) > 40
    return found


async def new_token(client: httpx.AsyncClient, *scopes: str, **fields: Any) -> str:
    body = {"name": "test", "scopes": list(scopes), **fields}
    return str((await make(client, "/api/tokens", body))["token"])


async def names_of(resources: Resources, call: Call) -> dict[str, Any]:
    return {name: await resources.get(name) for name in call.names}


def absent(call: Call) -> dict[str, Any]:
    return {name: ABSENT.get(name, ABSENT_ID) for name in call.names}


def seen(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """The status, body and headers, without the request id."""
    request_id = response.headers["x-request-id"]
    body = response.content.replace(request_id.encode(), b"")
    headers = [(name, value) for name, value in response.headers.items() if value != request_id]
    return response.status_code, body, headers


def stored(app: FastAPI) -> dict[str, list[dict[str, Any]]]:
    """All stored rows, without `last_used_at` of tokens, which is written later."""
    rows = dict(all_rows(manager_of(app)))
    rows["api_tokens"] = [{**row, "last_used_at": None} for row in rows["api_tokens"]]
    return rows


def test_every_route_has_a_scope_and_every_scope_a_route(application: FastAPI) -> None:
    assert {(call.method, call.template) for call in calls(application)} == POLICIES.keys()
    assert {policy.scope for policy in POLICIES.values()} == {*Scope, ANY_TOKEN, OPEN}
    assert hidden_routes(application) == OPEN_PAGES


async def test_no_route_answers_without_a_token_that_is_valid_now(
    stranger: httpx.AsyncClient,
    client: httpx.AsyncClient,
    application: FastAPI,
    resources: Resources,
) -> None:
    service = service_of(application)
    valid = await new_token(client, ADMIN)
    parsed = parse_token(valid)
    assert parsed is not None
    token_id, secret = parsed
    service.clock = clock = SetClock()
    clock.now = utc_now() - timedelta(days=1)
    expired = await new_token(client, ADMIN, expires_in="1h")
    service.clock = utc_now
    revoked = await new_token(client, ADMIN)
    assert (await client.delete(f"/api/tokens/{token_id + 2}")).status_code == 204
    wrong = {
        "nothing": None,
        "no token": "sr_",
        "mistyped": valid[:-1] + ("a" if valid[-1] != "a" else "b"),
        "another secret": token_text(token_id, secret[::-1]),
        "another token's id": token_text(token_id + 1, secret),
        "an unused id": token_text(token_id + 1000, secret),
        "expired": expired,
        "revoked": revoked,
    }
    routes = guarded(application)
    names = {str(call): await names_of(resources, call) for call in routes}
    before = stored(application)
    answers = set()
    for call in routes:
        for kind, token in wrong.items():
            response = await send(stranger, call, names[str(call)], token=token)
            assert response.status_code == 401, (str(call), kind)
            problem(response, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")
            answers.add(str(seen(response)))
    # The answers differ neither between kinds of tokens nor by whether the resource exists.
    assert len(answers) == 1
    assert stored(application) == before


async def test_no_route_answers_a_token_without_its_scope(
    stranger: httpx.AsyncClient,
    client: httpx.AsyncClient,
    application: FastAPI,
    resources: Resources,
) -> None:
    routes = [call for call in guarded(application) if call.scope != ANY_TOKEN]
    names = {str(call): await names_of(resources, call) for call in routes}
    weak = {
        scopes: await new_token(client, *(other for other in OTHERS if other not in scopes))
        for scopes in {call.scopes for call in routes}
    }
    before = stored(application)
    for call in routes:
        for there in (names[str(call)], absent(call)):
            response = await send(stranger, call, there, token=weak[call.scopes])
            assert response.status_code == 403, str(call)
            assert problem(response, "forbidden")["scope"] == call.scope
    assert stored(application) == before


async def test_every_route_answers_a_token_with_its_scope_alone(
    stranger: httpx.AsyncClient, client: httpx.AsyncClient, application: FastAPI
) -> None:
    strong = {scope: await new_token(client, scope) for scope in Scope}
    for call in guarded(application):
        scopes = list(Scope) if call.scope == ANY_TOKEN else [Scope(one) for one in call.scopes]
        for scope in scopes:
            response = await send(stranger, call, absent(call), token=strong[scope])
            assert response.status_code not in (401, 403), (str(call), response.text)
            assert response.status_code < 500, (str(call), response.text)


async def bound_token(client: httpx.AsyncClient, *scopes: str) -> str:
    """A token that is bound to its own project."""
    project = await make(client, "/api/projects", new_project())
    return await new_token(client, *scopes, project_ids=[project["id"]])


async def test_what_belongs_to_another_project_looks_like_nothing(
    stranger: httpx.AsyncClient,
    client: httpx.AsyncClient,
    application: FastAPI,
    resources: Resources,
) -> None:
    routes = [call for call in guarded(application) if call.names and call.scope != ADMIN]
    names = {str(call): await names_of(resources, call) for call in routes}
    tokens = [await bound_token(client, *OTHERS), await bound_token(client, ADMIN)]
    before = stored(application)
    for call in routes:
        for token in tokens:
            there = await send(stranger, call, names[str(call)], token=token)
            nowhere = await send(stranger, call, absent(call), token=token)
            assert there.status_code == 404, (str(call), there.text)
            assert there.json()["code"].endswith("_not_found")
            assert seen(there) == seen(nowhere), str(call)
            assert SENTINEL not in there.text
    assert stored(application) == before


async def test_naming_another_project_is_like_naming_none(
    stranger: httpx.AsyncClient,
    client: httpx.AsyncClient,
    application: FastAPI,
    resources: Resources,
) -> None:
    await resources.all()
    other = await resources.get("project_id")
    token = await bound_token(client, *OTHERS)
    before = stored(application)
    tried = set()
    for call in guarded(application):
        if call.names or call.scope == ADMIN:
            continue
        in_query = "project_id" in call.query
        answers = [
            await send(
                stranger,
                call,
                {},
                token=token,
                params={"project_id": project_id} if in_query else None,
                project_id=project_id,
            )
            for project_id in (other, ABSENT_ID)
        ]
        assert seen(answers[0]) == seen(answers[1]), str(call)
        assert SENTINEL not in answers[0].text
        if in_query or call.method != "GET":
            tried.add(str(call))
    assert {"GET /api/agent-runs", "GET /api/audit", "POST /api/agent-runs"} <= tried
    assert stored(application) == before


async def test_no_list_shows_what_belongs_to_another_project(
    stranger: httpx.AsyncClient,
    client: httpx.AsyncClient,
    application: FastAPI,
    resources: Resources,
) -> None:
    await resources.all()
    token = await bound_token(client, *OTHERS)
    shown = set()
    for call in guarded(application):
        if call.names or call.method != "GET":
            continue
        everything = await send(client, call, {})
        if everything.status_code == 200 and SENTINEL in everything.text:
            shown.add(call.template)
            response = await send(stranger, call, {}, token=token)
            assert SENTINEL not in response.text, str(call)
            assert response.status_code == (403 if call.scope == ADMIN else 200)
    assert shown >= {"/api/projects", "/api/agent-runs", "/api/logs", "/api/tokens"}


async def test_the_audit_of_another_project_is_not_shown(
    stranger: httpx.AsyncClient, client: httpx.AsyncClient, resources: Resources
) -> None:
    await resources.all()
    other = await resources.get("project_id")
    own = (await make(client, "/api/projects", new_project()))["id"]
    token = await new_token(client, "audit:read", project_ids=[own])
    bound = {"Authorization": f"Bearer {token}"}
    everything = (await client.get("/api/audit?limit=500")).json()["entries"]
    assert {entry["project_id"] for entry in everything} == {None, own, other}
    created = ["project.created", "settings.created"]
    for query, actions in {
        "": created,
        f"?project_id={own}": created,
        "?action=project.created": created[:1],
        "?actor=admin": created,
    }.items():
        shown = [(own, action) for action in actions]
        entries = (await stranger.get(f"/api/audit{query}", headers=bound)).json()["entries"]
        assert [(entry["project_id"], entry["action"]) for entry in reversed(entries)] == shown
        lines = (await stranger.get(f"/api/audit/export{query}", headers=bound)).text.splitlines()
        exported = [json.loads(line) for line in lines]
        assert [(entry["project_id"], entry["action"]) for entry in exported] == shown


async def test_a_token_that_is_bound_may_do_nothing_to_the_whole_installation(
    stranger: httpx.AsyncClient,
    client: httpx.AsyncClient,
    application: FastAPI,
    resources: Resources,
) -> None:
    routes = [call for call in guarded(application) if call.scope == ADMIN]
    assert len(routes) >= 6
    names = {str(call): await names_of(resources, call) for call in routes}
    token = await bound_token(client, ADMIN)
    before = stored(application)
    for call in routes:
        response = await send(stranger, call, names[str(call)], token=token)
        assert problem(response, "forbidden")["scope"] == ADMIN
    response = await stranger.post(
        "/api/projects", json=new_project(), headers={"Authorization": f"Bearer {token}"}
    )
    problem(response, "forbidden")
    assert stored(application) == before
