"""Which token may make which call: tokens are checked before anything else, and scopes by one
table."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from backend.http.route_policy import ANY_TOKEN, OPEN
from backend.main import create_app
from backend.routes import POLICIES
from backend.schemas.tokens import TokenCreate
from backend.services.principal import ADMIN
from config.settings import Settings
from tests.support.clients import client_of
from tests.support.http import (
    JSON,
    make_project,
    manager_of,
    new_project,
    problem,
    row_counts,
    service_of,
)

GUARDED: list[tuple[str, str, str]] = sorted(
    (method, path, policy.scope)
    for (method, path), policy in POLICIES.items()
    if policy.scope not in (OPEN, ANY_TOKEN) and not policy.is_open_on_loopback
)
WITH_BODY = [route[:2] for route in GUARDED if route[0] in ("POST", "PUT", "PATCH")]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


def address(template: str) -> str:
    """A path that matches the template."""
    return re.sub(r"\{\w+\}", "1", template).replace("/secrets/1", "/secrets/KEY")


@pytest.fixture
async def holder_of(application: FastAPI) -> AsyncIterator[MakeClient]:
    """Makes clients whose tokens have only these scopes."""
    async with AsyncExitStack() as stack:

        async def make(*scopes: str) -> httpx.AsyncClient:
            request = TokenCreate.model_validate({"name": "limited", "scopes": list(scopes)})
            token = (await service_of(application).tokens.create(request)).token
            return await stack.enter_async_context(client_of(application, token))

        yield make


@pytest.mark.shared
async def test_without_a_token_no_call_answers(stranger: httpx.AsyncClient) -> None:
    for method, path, scope in GUARDED:
        response = await stranger.request(method, address(path))
        document = problem(response, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert "Authorization: Bearer" in document["detail"]
        assert scope not in response.text


async def test_every_call_needs_its_own_scope_and_names_it(holder_of: MakeClient) -> None:
    every = {scope for _, _, scope in GUARDED} - {ADMIN}
    groups = {(scope, *POLICIES[method, path].or_scopes) for method, path, scope in GUARDED}
    limited = {group: await holder_of(*every.difference(group)) for group in groups}
    for method, path, scope in GUARDED:
        if scope not in every:
            continue
        group = scope, *POLICIES[method, path].or_scopes
        response = await limited[group].request(method, address(path))
        document = problem(response, "forbidden")
        assert document["scope"] == scope
        assert scope in document["detail"]


@pytest.mark.shared
async def test_a_scope_is_enough_for_its_calls(
    client: httpx.AsyncClient, holder_of: MakeClient
) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    base = f"/api/projects/{project['id']}"
    reader, revealer = await holder_of("projects:read"), await holder_of("secrets:reveal")
    assert (await reader.get(base)).status_code == 200
    assert (await reader.get(f"{base}/secrets")).status_code == 200
    problem(await reader.get(f"{base}/secrets/A/value"), "forbidden")
    problem(await reader.delete(base), "forbidden")
    assert (await revealer.get(f"{base}/secrets/A/value")).json()["value"] == "v"
    problem(await revealer.get(base), "forbidden")


@pytest.mark.shared
async def test_secrets_in_a_new_project_need_their_own_scope(
    client: httpx.AsyncClient, holder_of: MakeClient, application: FastAPI
) -> None:
    writer = await holder_of("projects:write")
    before = row_counts(manager_of(application))
    body = new_project(secrets=[{"key": "A", "value": "v"}])
    document = problem(await writer.post("/api/projects", json=body), "forbidden")
    assert document["scope"] == "secrets:write"
    assert row_counts(manager_of(application)) == before
    assert (await writer.post("/api/projects", json=new_project(secrets=[]))).status_code == 201
    both = await holder_of("projects:write", "secrets:write")
    assert (await both.post("/api/projects", json=body)).status_code == 201
    assert (await client.get("/api/projects")).status_code == 200


@pytest.fixture
def bound_header(client: httpx.AsyncClient) -> Callable[[int], Awaitable[dict[str, str]]]:
    """Makes tokens with all scopes that are bound to one project."""

    async def make(project_id: int) -> dict[str, str]:
        request = {"name": "bound", "scopes": [ADMIN], "project_ids": [project_id]}
        token = (await client.post("/api/tokens", json=request)).json()["token"]
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.mark.shared
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_bound_token_is_not_told_whether_a_repository_is_taken(
    client: httpx.AsyncClient,
    bound_header: Callable[[int], Awaitable[dict[str, str]]],
    method: str,
) -> None:
    own, hidden = [await make_project(client) for _ in range(2)]
    header = await bound_header(own["id"])
    path = f"/api/projects/{own['id']}"
    own = (await client.get(path)).json()
    seen = set()
    for change in (
        {"github_repo": hidden["github_repo"]},
        {"github_repo": hidden["github_repo"].upper()},
        {"github_repo": "free"},
        {"github_owner": "absent"},
        {"github_owner": own["github_owner"].upper()},
        {"name": "other", "github_owner": "acme", "github_repo": hidden["github_repo"]},
    ):
        response = await client.request(method, path, json=change, headers=header)
        document = problem(response, "forbidden")
        assert document["scope"] == "projects:write"
        seen.add(document["detail"])
    assert len(seen) == 1
    assert (await client.get(path)).json() == own
    # An answer that was read can be sent back.
    response = await client.request(method, path, json={**own, "name": "new"}, headers=header)
    assert (response.status_code, response.json()["name"]) == (200, "new")
    # A token without that restriction learns which project has the repository.
    taken = {"github_repo": hidden["github_repo"]}
    response = await client.request(method, path, json=taken)
    assert problem(response, "project_exists")["existing_id"] == hidden["id"]


@pytest.mark.shared
async def test_a_bound_token_restores_no_project(
    client: httpx.AsyncClient, bound_header: Callable[[int], Awaitable[dict[str, str]]]
) -> None:
    own, other = [await make_project(client) for _ in range(2)]
    header = await bound_header(own["id"])
    path = f"/api/projects/{own['id']}"
    response = await client.post(f"/api/projects/{other['id']}/restore", headers=header)
    problem(response, "project_not_found")
    assert (await client.delete(path, headers=header)).status_code == 204
    answers = [await client.post(f"{path}/restore", headers=header)]
    repository = {name: own[name] for name in ("github_owner", "github_repo")}
    taker = await make_project(client, **repository)
    answers.append(await client.post(f"{path}/restore", headers=header))
    details = {problem(response, "forbidden")["detail"] for response in answers}
    assert len(details) == 1
    assert (await client.get(path)).json()["status"] == "deleted"
    response = await client.post(f"{path}/restore")
    assert problem(response, "project_exists")["existing_id"] == taker["id"]


@pytest.mark.shared
async def test_a_purge_destroys_secrets_and_needs_their_scope(
    client: httpx.AsyncClient, holder_of: MakeClient, application: FastAPI
) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    path = f"/api/projects/{project['id']}"
    alone, both = (
        await holder_of("projects:write"),
        await holder_of("projects:write", "secrets:write"),
    )
    before = row_counts(manager_of(application))
    for there in (path, "/api/projects/987654"):
        document = problem(await alone.delete(f"{there}?purge=true"), "forbidden")
        assert document["scope"] == "secrets:write"
    assert row_counts(manager_of(application)) == before
    assert (await alone.delete(path)).status_code == 204
    problem(await alone.delete(f"{path}?purge=true"), "forbidden")
    assert (await both.delete(f"{path}?purge=true")).status_code == 204
    problem(await client.get(path), "project_not_found")


WRONG_HEADERS = (
    "",
    "Bearer",
    "Bearer ",
    "Basic {token}",
    "{token}",
    "Bearer {token}x",
    "Bearer x{token}",
    "Bearer {token} {token}",
    "Bearer sr_1_",
    "Bearer sr_99999999999999999999_" + "a" * 49,
    "Bearer sr_\u0661_" + "a" * 49,
    "Bearer " + "a" * 60_000,
    "Bearer \xff\xfe",
)


@pytest.mark.shared
async def test_a_wrong_token_is_no_token(stranger: httpx.AsyncClient, admin_token: str) -> None:
    for header in WRONG_HEADERS:
        sent = header.format(token=admin_token).encode()
        response = await stranger.get("/api/projects", headers={b"Authorization": sent})
        problem(response, "unauthenticated")
        assert admin_token not in response.text


@pytest.mark.shared
async def test_every_letter_of_a_token_counts(
    stranger: httpx.AsyncClient, admin_token: str
) -> None:
    for index, letter in enumerate(admin_token):
        other = "b" if letter != "b" else "c"
        wrong = admin_token[:index] + other + admin_token[index + 1 :]
        response = await stranger.get("/api/projects", headers={"Authorization": f"Bearer {wrong}"})
        assert response.status_code == 401, index


@pytest.mark.shared
async def test_the_scheme_is_read_in_any_case(
    stranger: httpx.AsyncClient, admin_token: str
) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        header = {"Authorization": f"{scheme} {admin_token}"}
        assert (await stranger.get("/api/projects", headers=header)).status_code == 200


@pytest.mark.shared
async def test_the_token_is_looked_at_before_the_body(stranger: httpx.AsyncClient) -> None:
    for method, path in WITH_BODY:
        response = await stranger.request(method, address(path), content=b"{", headers=JSON)
        problem(response, "unauthenticated")


@pytest.mark.shared
async def test_these_need_no_token(stranger: httpx.AsyncClient) -> None:
    for path in ("/", "/health", "/ready", "/openapi.json", "/docs"):
        assert (await stranger.get(path)).status_code == 200


async def test_with_authentication_off_everybody_may_do_everything(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"auth": "off"}))
    async with (
        app.router.lifespan_context(app),
        client_of(app, base_url="http://localhost") as anybody,
    ):
        project = await make_project(anybody, secrets=[{"key": "A", "value": "v"}])
        path = f"/api/projects/{project['id']}/secrets/A/value"
        assert (await anybody.get(path)).json()["value"] == "v"
