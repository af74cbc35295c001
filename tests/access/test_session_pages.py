"""Pages of other origins can not use a session, and permitted ones can."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from config.settings import Settings
from tests.support.browsers import OWN, PERMITTED, admin_token, sign_in
from tests.support.clients import client_of
from tests.support.http import all_rows, make_project, manager_of, new_project, problem
from tests.support.routes import calls, send


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A permitted origin, and guarded metrics."""
    changes = {"cors_origins": (PERMITTED,), "host": "0.0.0.0"}  # noqa: S104 - no socket
    return settings.model_copy(update=changes)


@pytest.fixture
async def browser(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token and without cookies."""
    async with client_of(application) as browser:
        yield browser


FOREIGN: dict[str, dict[str, str]] = {
    "another site": {"Origin": "https://evil.example.com"},
    "another port": {"Origin": f"{OWN}:8001"},
    "another scheme": {"Origin": "https://strongroom.test"},
    "a sandboxed page": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "almost the permitted one": {"Origin": PERMITTED + ".evil.example.com"},
    "no CORS": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    "a link": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
    "a page of an unknown kind": {"Sec-Fetch-Site": "sentinel"},
    "a page that lies": {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
    "a websocket": {"Origin": f"{OWN}:8001", "Upgrade": "websocket", "Connection": "Upgrade"},
}


async def test_no_route_answers_another_page_that_sends_the_cookie(
    application: FastAPI, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await make_project(client, secrets=[{"key": "KEY", "value": "sentinel of the secret"}])
    session = await sign_in(browser, admin_token(application))
    found = [call for call in calls(application) if call.scope is not None]
    before = all_rows(manager_of(application))
    for call in found:
        for kind, foreign in FOREIGN.items():
            headers = {**session, "X-Strongroom-Request": "1", **foreign}
            names = {name: "KEY" if name == "key" else 1 for name in call.names}
            answer = await send(browser, call, names, headers=headers)
            problem(answer, "forbidden")
            assert "STRONGROOM_CORS_ORIGINS" in answer.json()["detail"], (str(call), kind)
            assert "access-control-allow-origin" not in answer.headers
    after = all_rows(manager_of(application))
    assert after == before


async def test_every_route_that_changes_something_needs_the_header_and_an_origin(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    session = await sign_in(browser, admin_token(application))
    unsafe = [call for call in calls(application) if call.scope is not None]
    unsafe = [call for call in unsafe if call.method != "GET"]
    assert len(unsafe) > 20
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Origin": OWN},
        {"X-Strongroom-Request": "1"},
        {"X-Strongroom-Request": "true", "Origin": OWN},
        {"X-Strongroom-Request": "", "Origin": OWN},
        {"X-Strongroom-Request": "1", "Sec-Fetch-Site": "same-origin"},
    )
    before = all_rows(manager_of(application))
    for call in unsafe:
        for headers in wrong:
            names = dict.fromkeys(call.names, 1)
            answer = await send(browser, call, names, headers={**session, **headers})
            detail = problem(answer, "forbidden")["detail"]
            assert "X-Strongroom-Request: 1" in detail
            assert "Origin" in detail
    assert all_rows(manager_of(application)) == before


@pytest.mark.parametrize("origin", [OWN, PERMITTED])
async def test_own_and_permitted_pages_use_the_session(
    application: FastAPI, browser: httpx.AsyncClient, origin: str
) -> None:
    session = await sign_in(browser, admin_token(application))
    meant = {**session, "Origin": origin, "X-Strongroom-Request": "1"}
    made = await browser.post("/api/projects", json=new_project(), headers=meant)
    assert made.status_code == 201
    path = f"/api/projects/{made.json()['id']}"
    assert (await browser.patch(path, json={"name": "x"}, headers=meant)).status_code == 200
    for _ in range(3):
        read = await browser.get(path, headers={**session, "Origin": origin})
        assert read.status_code == 200
        is_readable = read.headers.get("access-control-allow-credentials") == "true"
        assert is_readable is (origin == PERMITTED)
    assert (await browser.get(path, headers=session)).status_code == 200
    own = {**session, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert (await browser.get(path, headers=own)).status_code == 200


async def test_another_page_can_not_sign_the_user_in(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    body = {"token": admin_token(application)}
    before = all_rows(manager_of(application))
    for kind, foreign in FOREIGN.items():
        answer = await browser.post("/api/session", json=body, headers=foreign)
        problem(answer, "forbidden")
        assert "set-cookie" not in answer.headers, kind
    text = f'{{"token": "{admin_token(application)}"}}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await browser.post(
            "/api/session", content=text, headers={"Content-Type": content_type}
        )
        problem(answer, "unsupported_media_type")
    assert all_rows(manager_of(application)) == before
    for origin in (OWN, PERMITTED):
        answer = await browser.post("/api/session", json=body, headers={"Origin": origin})
        assert answer.status_code == 204
