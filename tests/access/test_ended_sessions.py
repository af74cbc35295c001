"""What ends a session, and what does not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http.fair_queue import FairQueue
from backend.main import create_app
from config.settings import Settings
from database.base import utc_now
from tests.access.test_ended_tokens import until
from tests.support.browsers import MEANT, PERMITTED, admin_token, sign_in
from tests.support.clients import client_of, new_token, token_of_first_start
from tests.support.clocks import SetClock
from tests.support.http import all_rows, manager_of, new_project, problem, service_of


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


async def test_a_session_lasts_no_longer_than_its_token(
    application: FastAPI, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    service = service_of(application)
    service.clock = clock = SetClock()
    clock.now = utc_now()
    short = await new_token(client, "projects:read", expires_in="1h")
    response = await browser.post("/api/session", json={"token": short})
    assert "Max-Age=3600;" in response.headers["set-cookie"]
    short_session = {"Cookie": response.headers["set-cookie"].partition(";")[0]}
    long_session = await sign_in(browser, admin_token(application))
    for seconds, short_status, long_status in ((3599, 200, 200), (1, 401, 200), (39_599, 401, 200)):
        clock.advance(seconds)
        for header, status in ((short_session, short_status), (long_session, long_status)):
            assert (await browser.get("/api/session", headers=header)).status_code == status
    clock.advance(1)
    problem(await browser.get("/api/session", headers=long_session), "unauthenticated")
    assert await service.sessions.remove_expired() == 2
    assert manager_of(application).execute_query("SELECT * FROM sessions") == []
    entries = (await client.get("/api/audit?action=session.expired")).json()["entries"]
    assert [entry["actor"] for entry in entries] == ["system"] * 2


async def test_a_session_ends_at_once_with_its_token(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, application: FastAPI
) -> None:
    token = await new_token(client, "projects:read")
    session = await sign_in(browser, token)
    assert (await browser.get("/api/projects", headers=session)).status_code == 200
    assert (await client.delete("/api/tokens/2")).status_code == 204
    problem(await browser.get("/api/projects", headers=session), "unauthenticated")
    assert manager_of(application).execute_query("SELECT * FROM sessions") == []


async def test_a_copied_cookie_has_no_effect_after_the_session_has_ended(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    session = await sign_in(browser, admin_token(application))
    other = await sign_in(browser, admin_token(application))
    assert (await browser.get("/api/projects", headers=session)).status_code == 200
    response = await browser.delete("/api/session", headers={**session, **MEANT})
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["set-cookie"] == (
        "strongroom_session_80=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    )
    before = all_rows(manager_of(application))
    for method, path in (("GET", "/api/projects"), ("DELETE", "/api/session")):
        answer = await browser.request(method, path, headers={**session, **MEANT})
        assert "sign in again" in problem(answer, "unauthenticated")["detail"]
    # The other session of the token goes on.
    assert (await browser.get("/api/projects", headers=other)).status_code == 200
    assert all_rows(manager_of(application)) == before


async def test_no_unit_acts_after_the_session_ended_in_the_same_commit(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    session = {**await sign_in(browser, admin_token(application)), **MEANT}
    assert (await browser.get("/api/session", headers=session)).status_code == 200
    queue = manager_of(application).async_pool.writer.queue
    # Background work would wait in the same queue.
    await application.state.runtime.background.stop()
    async with service_of(application).transaction():
        ending = asyncio.ensure_future(browser.delete("/api/session", headers=session))
        await until(lambda: len(queue) == 1)
        creating = asyncio.ensure_future(
            browser.post("/api/projects", json=new_project(), headers=session)
        )
        await until(lambda: len(queue) == 2)
    assert (await ending).status_code == 204
    problem(await creating, "unauthenticated")


async def test_a_session_that_ends_while_a_request_waits_for_a_slot_gets_401(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    session = {**await sign_in(browser, admin_token(application)), **MEANT}
    queue: FairQueue = application.state.queues["reading"]
    holders = [object() for _ in range(queue.free)]
    assert all(queue.take(holder) for holder in holders)
    waiting = asyncio.ensure_future(browser.get("/api/me", headers=session))
    await until(lambda: queue.waiting == 1)
    assert (await browser.delete("/api/session", headers=session)).status_code == 204
    for holder in holders:
        queue.give_back(holder)
    problem(await waiting, "unauthenticated")


async def test_a_session_outlives_a_restart_and_a_rotation(settings: Settings) -> None:
    session: dict[str, str] = {}
    for _ in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as browser:
            token = token_of_first_start(settings)
            session = session or await sign_in(browser, token)
            assert (await browser.get("/api/me", headers=session)).status_code == 200
            rotate: Any = {"reencrypt": True}
            answer = await browser.post(
                "/api/keys/rotate", json=rotate, headers={**session, **MEANT}
            )
            assert answer.is_success, answer.text
            assert (await browser.get("/api/me", headers=session)).status_code == 200


async def test_a_lifetime_that_is_over_leaves_no_cookie_of_negative_age(
    application: FastAPI, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    service = service_of(application)
    service.clock = clock = SetClock()
    clock.now = utc_now()
    token = await new_token(client, "projects:read", expires_in=2)
    clock.now += timedelta(seconds=1.5)
    response = await browser.post("/api/session", json={"token": token})
    assert "Max-Age=0;" in response.headers["set-cookie"]
