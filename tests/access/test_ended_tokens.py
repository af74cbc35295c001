"""A token that ends during a request: every route, at every point where the request may wait."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http.fair_queue import FairQueue
from backend.services.principal import ADMIN
from config.settings import Settings
from models import Scope
from tests.support.clients import token_of_first_start
from tests.support.clocks import SetClock
from tests.support.http import all_rows, manager_of, new_project, problem, service_of
from tests.support.resources import Resources
from tests.support.routes import Call, calls, send
from tests.support.servers import RunningServer

Names = dict[str, dict[str, Any]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Guarded metrics, a single reader, and slots for all requests."""
    return settings.model_copy(
        update={
            "failed_attempts_per_minute": 0,
            "host": "0.0.0.0",  # noqa: S104 - no socket
            "db_readers": 1,
            "max_concurrent_requests": 200,
        }
    )


@pytest.fixture
def routes(application: FastAPI) -> list[Call]:
    """Every route that needs a token."""
    found = [call for call in calls(application) if call.scope is not None]
    assert len(found) > 40
    return found


@pytest.fixture
async def names(client: httpx.AsyncClient, routes: list[Call]) -> Names:
    """The path parameters of each route."""
    resources = Resources(client)
    return {str(call): {name: await resources.get(name) for name in call.names} for call in routes}


def writes(call: Call) -> bool:
    return call.method != "GET" or call.scope == Scope.SECRETS_REVEAL


async def new_token(client: httpx.AsyncClient, **fields: Any) -> tuple[int, str]:
    body = {"name": "test", "scopes": [ADMIN], **fields}
    made = (await client.post("/api/tokens", json=body)).json()
    return made["id"], made["token"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def rows_but_tokens(app: FastAPI) -> dict[str, Any]:
    """All stored rows, without what is known of tokens."""
    rows: dict[str, Any] = dict(all_rows(manager_of(app)))
    rows["api_tokens"] = [(row["id"], row["name"]) for row in rows["api_tokens"]]
    rows["audit_entries"] = [
        row for row in rows["audit_entries"] if row["action"] != "token.revoked"
    ]
    return rows


async def refused(answers: Sequence[Awaitable[httpx.Response]], sent: list[Call]) -> None:
    for call, response in zip(sent, await asyncio.gather(*answers), strict=True):
        assert response.status_code == 401, (str(call), response.text)
        problem(response, "unauthenticated")


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_no_route_acts_for_a_token_that_ends_while_the_body_comes(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
    end: str,
) -> None:
    clock = SetClock()
    service_of(application).clock = clock
    tokens = [await new_token(client, expires_in=3600 * (n + 1)) for n in range(len(routes))]
    before = rows_but_tokens(application)
    for call, (token_id, token) in zip(routes, tokens, strict=True):

        async def ends(token_id: int = token_id) -> None:
            if end == "revoked":
                assert (await client.delete(f"/api/tokens/{token_id}")).status_code == 204
            else:
                clock.advance(3600)

        await refused([send(stranger, call, names[str(call)], token=token, between=ends)], [call])
    assert rows_but_tokens(application) == before


@pytest.mark.parametrize("kind", ["reading", "writing"])
async def test_no_route_acts_for_a_token_that_ends_while_it_waits_for_a_slot(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
    kind: str,
) -> None:
    sent = [call for call in routes if writes(call) == (kind == "writing")]
    sent = [call for call in sent if call.template != "/metrics"]
    token_id, token = await new_token(client)
    before = rows_but_tokens(application)
    queue: FairQueue = application.state.queues[kind]
    holders = [object() for _ in range(queue.free)]
    assert all(queue.take(holder) for holder in holders)
    answers = [
        asyncio.ensure_future(send(stranger, call, names[str(call)], token=token)) for call in sent
    ]
    await until(lambda: queue.waiting == len(sent))
    await service_of(application).tokens.revoke(token_id)
    for holder in holders:
        queue.give_back(holder)
    await refused(answers, sent)
    assert rows_but_tokens(application) == before


async def test_no_unit_of_work_acts_after_the_revocation_that_shares_its_commit(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
) -> None:
    # A token has no session to end, so this route writes nothing.
    sent = [call for call in routes if writes(call) and str(call) != "DELETE /api/session"]
    token_id, token = await new_token(client)
    before = rows_but_tokens(application)
    service, manager = service_of(application), manager_of(application)
    queue = manager.async_pool.writer.queue
    # Background work would wait in the same queue.
    await application.state.runtime.background.stop()
    async with service.transaction():
        revocation = asyncio.ensure_future(service.tokens.revoke(token_id))
        await until(lambda: len(queue) == 1)
        answers = [
            asyncio.ensure_future(send(stranger, call, names[str(call)], token=token))
            for call in sent
        ]
        await until(lambda: len(queue) == 1 + len(sent))
    await revocation
    await refused(answers, sent)
    assert rows_but_tokens(application) == before


async def test_no_route_tells_anything_to_a_token_that_ends_while_it_reads(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
) -> None:
    # These routes don't use a reader.
    others = {"GET /metrics", "GET /api/backups", "GET /api/me", "GET /api/session"}
    sent = [call for call in routes if not writes(call) and str(call) not in others]
    token_id, token = await new_token(client)
    service, manager = service_of(application), manager_of(application)
    await service.tokens.authenticate(token)
    pool = manager.async_pool
    queues = [pool.readers.queue, pool.slow_readers.queue]
    released = threading.Event()
    blocked = [
        asyncio.ensure_future(readers.run(lambda _: released.wait(30)))
        for readers in (pool.readers, *[pool.slow_readers] * manager.config.slow_readers)
    ]
    answers = [
        asyncio.ensure_future(send(stranger, call, names[str(call)], token=token)) for call in sent
    ]
    try:
        waiting = len(blocked) + len(sent)
        await until(lambda: sum(queue.unanswered for queue in queues) == waiting)
        await service.tokens.revoke(token_id)
    finally:
        released.set()
    await asyncio.gather(*blocked)
    await refused(answers, sent)


async def test_a_stream_breaks_off_when_its_token_ends(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    manager = manager_of(application)
    manager.execute_command(
        "WITH RECURSIVE numbers (n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM numbers WHERE"
        " n < 2500) INSERT INTO audit_entries (id, at, actor, action, target, mac)"
        " SELECT n, '2026-01-31T12:00:00.000000Z', 'test', 'test.done', 'tests/1',"
        " printf('%064d', n) FROM numbers"
    )
    token_id, token = await new_token(client, scopes=["audit:read"])
    messages: list[Any] = []

    received = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not received:
            await asyncio.Event().wait()
        return received.pop()

    async def collect(message: Any) -> None:
        messages.append(message)
        if message.get("body"):
            await service_of(application).tokens.revoke(token_id)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "GET",
        "path": "/api/audit/export",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 5),
    }
    async with asyncio.timeout(30):
        await application(scope, receive, collect)
    assert messages[0]["status"] == 200
    assert sum(bool(message.get("body")) for message in messages) == 1
    # The end of the answer is missing, so the client sees a broken connection.
    assert messages[-1].get("more_body") is True


@pytest.mark.parametrize("what", ["a token", "a reveal", "a reveal with a length"])
def test_a_body_that_trickles_past_the_revocation_gets_401(
    server: RunningServer, settings: Settings, what: str
) -> None:
    with server.client(token_of_first_start(settings)) as client:
        body = new_project(secrets=[{"key": "KEY", "value": "sesame"}])
        path = f"/api/projects/{client.post('/api/projects', json=body).json()['id']}"
        made = client.post("/api/tokens", json={"name": "test", "scopes": [ADMIN]}).json()
        line, content = "POST /api/tokens", b'{"name": "more", "scopes": ["admin"]}'
        if what != "a token":
            line, content = f"GET {path}/secrets/KEY/value", b"nothing that is read"
        framing, size, end = (
            "Transfer-Encoding: chunked",
            b"%x\r\n" % len(content),
            b"\r\n0\r\n\r\n",
        )
        if what == "a reveal with a length":
            framing, size, end = f"Content-Length: {len(content)}", b"", b""
        head = (
            f"{line} HTTP/1.1\r\nHost: strongroom.test\r\nAuthorization: Bearer {made['token']}\r\n"
            f"Content-Type: application/json\r\n{framing}\r\n\r\n"
        )
        with server.connect() as connection:
            connection.sendall(head.encode() + size + content[:-1])
            # The token is recognised: its last use is shown.
            used = f"/api/tokens/{made['id']}"
            while client.get(used).json()["last_used_at"] is None:
                pass
            assert client.delete(used).status_code == 204
            connection.sendall(content[-1:] + end)
            answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"sesame" not in answer
        assert "more" not in [one["name"] for one in client.get("/api/tokens").json()["tokens"]]
        assert client.get("/api/audit?actor=test").json()["entries"] == []
