"""How waits end, and what they cost others."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta

import httpx
import pytest

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.main import create_app
from config.settings import Settings
from database.base import utc_now
from tests.http.raw import Wire
from tests.support.clients import NO_TLS, new_token, token_of_first_start
from tests.support.clocks import SetClock, TickingClock
from tests.support.http import make_project, problem, service_of
from tests.support.servers import RunningServer
from tests.waiting.waiting import (
    APPLIED,
    CLAIM,
    LONG,
    Clients,
    clients_of,
    make_run,
    sign_in,
    until,
    waits_of,
)

SCOPES = ("projects:read", "runs:read", "runs:write")


async def test_the_waits_of_a_revoked_token_end(
    server: RunningServer, user: httpx.AsyncClient, clients: Clients
) -> None:
    project_id = (await make_project(user))["id"]
    path = f"/api/projects/{project_id}"
    tag = (await user.get(path)).headers["ETag"]
    revoked = await new_token(user, *SCOPES)
    revoked_id = (await user.get("/api/tokens")).json()["tokens"][0]["id"]
    async with server.async_client(revoked) as other:
        ended = [await clients.read(other, path, tag), await clients.claim(other)]
        stays = [await clients.read(user, path, tag), await clients.claim(user)]
        assert (await user.delete(f"/api/tokens/{revoked_id}")).status_code == 204
        for asked in ended:
            problem(await asked.answer(), "unauthenticated")
        assert clients.waits.ended["token"] == 2
    # The first of those that ask the same has gone, and the run was not for the other claim.
    await user.patch(path, json={"name": "other"})
    run_id = await make_run(user, project_id)
    assert (await stays[0].answer()).json()["name"] == "other"
    assert (await stays[1].answer()).json()["id"] == run_id


async def test_the_waits_of_a_session_end_with_it(
    server: RunningServer, user: httpx.AsyncClient, clients: Clients
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    token = await new_token(user, *SCOPES)
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, timeout=60) as browser:
        first, second = [await sign_in(browser, token) for _ in range(2)]
        ended = await clients.read(browser, path, tag, **first)
        stays = await clients.read(browser, path, tag, **second)
        assert (await browser.delete("/api/session", headers=first)).status_code == 204
        problem(await ended.answer(), "unauthenticated")
        await user.patch(path, json={"name": "other"})
        assert (await stays.answer()).status_code == 200


async def test_the_waits_of_an_expired_token_end(
    server: RunningServer, user: httpx.AsyncClient, clients: Clients
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    token = await new_token(user, *SCOPES, expires_in="1h")
    async with server.async_client(token) as client:
        asked = [await clients.read(client, path, tag), await clients.claim(client)]
        clock = SetClock()
        clock.now = utc_now() + timedelta(hours=2)
        service_of(server.app).clock = clock
        for one in asked:
            problem(await one.answer(), "unauthenticated")


async def test_at_the_end_of_the_service_all_are_answered(installed: Settings) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(RunningServer(create_app(installed)))
        async with (
            server.async_client(token_of_first_start(installed)) as user,
            clients_of(server.app) as clients,
        ):
            path = f"/api/projects/{(await make_project(user))['id']}"
            tag = (await user.get(path)).headers["ETag"]
            reads = [await clients.read(user, path, known) for known in (tag, "*")]
            claims = [
                await clients.claim(user, headers=key) for key in ({}, {"Idempotency-Key": "k"})
            ]
            await asyncio.to_thread(stack.close)
            for asked in reads:
                answer = await asked.answer()
                assert (answer.status_code, answer.headers["ETag"]) == (304, tag)
                assert answer.headers[APPLIED] == "wait=60"
            assert [(await asked.answer()).status_code for asked in claims] == [204, 204]
            assert waits_of(server.app).ended == {"shutdown": 4}
            assert not waits_of(server.app).may_wait


async def test_who_disconnects_waits_no_longer(
    server: RunningServer, installed: Settings, clients: Clients, user: httpx.AsyncClient
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    token = token_of_first_start(installed)
    body = b'{"worker":"w"}'
    with Wire(server, token) as reader, Wire(server, token) as claimer:
        reader.head("GET", path, "If-None-Match: *", "Prefer: wait=60")
        claimer.head(
            "POST",
            CLAIM,
            f"Content-Length: {len(body)}",
            "Content-Type: application/json",
            "Prefer: wait=60",
        )
        claimer.send(body)
        await until(lambda: clients.waits.open() == {"reads": 1, "claims": 1})
    await until(lambda: clients.waits.open() == {"reads": 0, "claims": 0})
    assert clients.waits.ended == {"client": 2}
    text = (await user.get("/metrics")).text
    assert 'strongroom_waits_ended_total{reason="client"} 2.0' in text
    assert 'strongroom_waits_open{kind="reads"} 0.0' in text
    assert f'method="POST",route="{CLAIM}",status="499"' in text
    # The question is remembered for a moment.
    await until(lambda: not service_of(server.app).commits.is_heard)


async def test_waits_hold_no_slot(installed: Settings) -> None:
    settings = installed.model_copy(update={"max_concurrent_requests": 1})
    with RunningServer(create_app(settings)) as server:
        async with (
            server.async_client(token_of_first_start(settings)) as user,
            clients_of(server.app) as clients,
        ):
            path = f"/api/projects/{(await make_project(user))['id']}"
            for _ in range(4):
                await clients.read(user, path, "*")
                await clients.claim(user)
            await make_project(user)
            assert (await user.get(path)).status_code == 200
            assert (await user.post(CLAIM, json={"worker": "w"})).status_code == 204


async def test_who_waits_is_no_slow_client(installed: Settings) -> None:
    clock = TickingClock()
    with RunningServer(create_app(installed), Connections(ConnectionLimits(), clock)) as server:
        token = token_of_first_start(installed)
        async with server.async_client(token) as user:
            path = f"/api/projects/{(await make_project(user))['id']}"
            tag = (await user.get(path)).headers["ETag"]
        with Wire(server, token) as wire:
            wire.head("GET", path, f"If-None-Match: {tag}", "Prefer: wait=60")
            await until(lambda: waits_of(server.app).open()["reads"] == 1)
            for _ in range(60):
                clock.advance(1)
            async with server.async_client(token) as user:
                await user.patch(path, json={"name": "other"})
            answer = await asyncio.to_thread(wire.answer)
            assert (answer.status, answer.document["name"]) == (200, "other")


async def test_waits_leave_connections_to_other_requests(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    clients.waits.fit(4)
    for _ in range(3):
        await clients.read(user, path, "*")
    for headers in ({"If-None-Match": "*"},):
        answer = await user.get(path, headers={**LONG, **headers})
        assert answer.status_code == 304
        assert APPLIED not in answer.headers
    claim = await user.post(CLAIM, json={"worker": "w"}, headers=LONG)
    assert (claim.status_code, APPLIED in claim.headers) == (204, False)


async def test_a_wait_gives_way_to_a_stream(user: httpx.AsyncClient, clients: Clients) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    clients.waits.fit(4)
    asked = [await clients.read(user, path, "*") for _ in range(3)]
    async with user.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as stream:
        assert "event: ready" in await anext(stream.aiter_text())
        last = await asked.pop().answer()
        assert (last.status_code, last.headers[APPLIED]) == (304, "wait=60")
        assert clients.waits.ended == {"share": 1}
        assert not any(one.task.done() for one in asked)


async def test_without_tokens_requests_wait_too(installed: Settings) -> None:
    settings = installed.model_copy(update={"auth": "off"})
    with RunningServer(create_app(settings)) as server:
        async with server.async_client() as user, clients_of(server.app) as clients:
            project_id = (await make_project(user))["id"]
            path = f"/api/projects/{project_id}"
            tag = (await user.get(path)).headers["ETag"]
            asked = [await clients.read(user, path, tag), await clients.claim(user)]
            await user.patch(path, json={"name": "other"})
            await make_run(user, project_id)
            assert [(await one.answer()).status_code for one in asked] == [200, 200]


@pytest.mark.parametrize("path", ["/api/events", "/api/logs"])
async def test_a_stream_takes_no_part(user: httpx.AsyncClient, clients: Clients, path: str) -> None:
    headers = {**LONG, "If-None-Match": "*", "Accept": "text/event-stream"}
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(user.stream("GET", path, headers=headers))
        assert answer.status_code == 200
        assert APPLIED not in answer.headers
        assert "event: ready" in await anext(answer.aiter_text())
        assert clients.waits.open()["reads"] == 0
