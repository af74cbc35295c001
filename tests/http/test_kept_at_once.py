"""The server sends kept answers without the application. They are the application's bytes, and all
else goes to the application."""

import asyncio
import io
import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from backend.http.application import Application
from backend.http.kept_turns import PER_TURN
from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from tests.http.kept_world import GENERATED, LINE, World, changed
from tests.http.listening import Line, Listening, asked, line_to, sent
from tests.support.asgi import Head
from tests.support.clients import bearer, client_of, new_token, token_of_first_start
from tests.support.clocks import SetClock
from tests.support.http import make_project, service_of

PATH = "/api/projects/1"


class Compared:
    """Sends requests to both servers, and compares the bytes and the access lines."""

    def __init__(self, at_once: Listening, plain: Listening, log: io.StringIO) -> None:
        self._servers = plain, at_once, at_once
        self._log = log
        self.at_once = 0
        """The answers with success that did not come from the application."""

    async def answers(self, head: Head) -> None:
        """Compare the answers to a request, which the first of them may leave behind."""
        first, *others = [await self._answer(server, head) for server in self._servers]
        assert others == [first, first], head

    async def _answer(self, server: Listening, head: Head) -> str:
        began, passed = self._log.tell(), server.passed
        answer = await asked(server, sent(head), has_body=head.method != "HEAD")
        self.at_once += answer.startswith(b"HTTP/1.1 200") and server.passed == passed
        await server.settled()
        self._log.seek(began)
        return GENERATED.sub("made", repr((answer, LINE.sub("", self._log.read()))))


@asynccontextmanager
async def both(world: World, log: io.StringIO) -> AsyncIterator[tuple[Compared, Listening]]:
    """Both applications behind a server, and the server that sends kept answers itself."""
    async with (
        Listening(world.app, at_once=True).open() as at_once,
        Listening(world.plain, at_once=False).open() as plain,
    ):
        yield Compared(at_once, plain, log), at_once


def usual(world: World) -> Head:
    """An ordinary request for a project."""
    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + world.tokens[0])]
    return Head(PATH, headers=[*headers, (b"x-request-id", b"one-of-both")])


async def test_every_unusual_form_of_a_request(world: World, log: io.StringIO) -> None:
    async with both(world, log) as (compared, at_once):
        for head in changed(usual(world)):
            await compared.answers(usual(world))
            passed = at_once.passed
            await compared.answers(usual(world))
            assert (at_once.passed == passed) is world.keeps
            await compared.answers(head)


@pytest.mark.parametrize("seed", range(1))
async def test_the_application_and_the_server_send_the_same_bytes(
    world: World, log: io.StringIO, seed: int
) -> None:
    await compare(world, log, seed, requests=150)


@pytest.mark.long_form
@pytest.mark.parametrize("seed", range(1, 12))
async def test_the_application_and_the_server_send_the_same_bytes_at_length(
    world: World, log: io.StringIO, seed: int
) -> None:
    await compare(world, log, seed, requests=1_000)


async def compare(world: World, log: io.StringIO, seed: int, *, requests: int) -> None:
    """Compare the answers to this many random requests, with changes between them."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with both(world, log) as (compared, _):
        for _ in range(requests):
            if chance.random() < 0.1:
                await world.change(chance)
            await compared.answers(world.request(chance))
    if world.keeps:
        assert compared.at_once > requests / 20
    else:
        assert not compared.at_once


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """An application that keeps answers, with a project, however the tests are run."""
    app = create_app(settings, direct=True)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def admin(app: FastAPI, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator, past the server."""
    async with client_of(app, token_of_first_start(settings)) as admin:
        for _ in range(2):
            await make_project(admin)
        yield admin


@pytest.fixture
async def server(app: FastAPI) -> AsyncIterator[Listening]:
    """A server in front of it."""
    async with Listening(app, at_once=True).open() as server:
        yield server


def get(path: str, token: str, *headers: str) -> bytes:
    """An ordinary request."""
    lines = (f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers)
    return "\r\n".join((*lines, "", "")).encode()


def token_of(client: httpx.AsyncClient) -> str:
    """The token that a client sends."""
    return str(client.headers["Authorization"]).removeprefix("Bearer ")


async def test_a_head_may_come_in_pieces(server: Listening, admin: httpx.AsyncClient) -> None:
    data = get(PATH, token_of(admin), "X-Request-ID: one")
    whole = await asked(server, data)
    assert whole.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\nserver: this\r\n")
    passed = server.passed
    async with line_to(server) as line:
        line.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end in range(1, len(data), 7):
            for part in (data[:end], data[end:]):
                line.writer.write(part)
                await asyncio.sleep(0.001)
            assert await line.answer() == whole
    assert server.passed == passed


@pytest.mark.parametrize("ending", [b"", b"GET no URL\r\n\r\n"])
async def test_of_many_requests_at_once_the_application_answers_all_but_the_first(
    server: Listening, admin: httpx.AsyncClient, ending: bytes
) -> None:
    token = token_of(admin)
    for path in (PATH, "/api/projects"):
        await asked(server, get(path, token))
    passed, count = server.passed, 40
    requests = [
        get(PATH if n % 3 else "/api/projects", token, f"X-Request-ID: n{n}") for n in range(count)
    ]
    async with line_to(server) as line:
        line.writer.write(b"".join([*requests, ending]))
        for number in range(count):
            answer = await line.answer()
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"x-request-id: n%d\r\n" % number in answer
            assert (b'"projects"' in answer) is (number % 3 == 0)
        if ending:
            assert not await line.answer()
        else:
            line.writer.write(get(PATH, token))
            assert (await line.answer()).startswith(b"HTTP/1.1 200 OK")
    assert server.passed == passed + count - 1


async def test_a_kept_answer_waits_for_the_answers_before_it(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    token = token_of(admin)
    await asked(server, get(PATH, token))
    async with line_to(server) as line:
        line.writer.write(get("/api/projects/2/full", token, "X-Request-ID: first"))
        await asyncio.sleep(0)
        line.writer.write(get(PATH, token, "X-Request-ID: second"))
        for id in (b"first", b"second"):
            assert b"x-request-id: " + id in await line.answer()


async def test_a_client_that_reads_nothing_gets_all_in_the_end(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    for number in range(48):
        await make_project(admin, github_repo=f"r{number}", name="n" * 200)
    token, count = token_of(admin), 400
    await asked(server, get("/api/projects?limit=50", token))
    passed = server.passed
    async with line_to(server) as line:
        for number in range(count):
            line.writer.write(get("/api/projects?limit=50", token, f"X-Request-ID: n{number}"))
            await asyncio.sleep(0)
        for number in range(count):
            assert b"x-request-id: n%d\r\n" % number in await line.answer()
    # While the client read nothing, its requests waited in the application.
    assert passed < server.passed


async def test_an_idle_connection_closes_after_a_kept_answer(
    app: FastAPI, admin: httpx.AsyncClient
) -> None:
    async with Listening(app, at_once=True, keep_alive=1).open() as server:
        await asked(server, get(PATH, token_of(admin)))
        passed = server.passed
        async with line_to(server) as line:
            line.writer.write(get(PATH, token_of(admin)))
            assert (await line.answer()).startswith(b"HTTP/1.1 200 OK")
            assert await line.answer() == b""
        assert server.passed == passed


async def test_it_counts_as_a_use_and_in_the_metrics(
    app: FastAPI, server: Listening, admin: httpx.AsyncClient
) -> None:
    token = await new_token(admin, "projects:read")
    service_of(app).clock = clock = SetClock()
    await asked(server, get(PATH, token))
    clock.advance(5)
    passed = server.passed
    for _ in range(3):
        await asked(server, get(PATH, token))
    assert server.passed == passed
    assert (await admin.get("/api/tokens/2")).json()["last_used_at"] == clock.text()
    metrics = (await admin.get("/metrics")).text
    series = 'method="GET",route="/api/projects/{project_id}",status="200"'
    assert f"strongroom_request_duration_seconds_count{{{series}}} 4.0" in metrics


async def test_an_ended_token_is_refused(
    app: FastAPI, server: Listening, admin: httpx.AsyncClient
) -> None:
    service_of(app).clock = clock = SetClock()
    fields = {"name": "t", "scopes": ["projects:read"]}
    ending = (await admin.post("/api/tokens", json={**fields, "expires_in": "1d"})).json()
    revoked = (await admin.post("/api/tokens", json=fields)).json()
    for token in (ending["token"], revoked["token"]):
        for _ in range(2):
            assert (await asked(server, get(PATH, token))).startswith(b"HTTP/1.1 200")
    await admin.delete(f"/api/tokens/{revoked['id']}")
    assert (await asked(server, get(PATH, revoked["token"]))).startswith(b"HTTP/1.1 401")
    clock.advance(24 * 60 * 60)
    assert (await asked(server, get(PATH, ending["token"]))).startswith(b"HTTP/1.1 401")


async def test_during_a_revocation_the_application_looks_up_every_token(
    app: FastAPI, server: Listening, admin: httpx.AsyncClient
) -> None:
    for _ in range(2):
        await asked(server, get(PATH, token_of(admin)))
    passed, cache = server.passed, service_of(app).tokens._cache
    cache.begin_revocation()
    assert (await asked(server, get(PATH, token_of(admin)))).startswith(b"HTTP/1.1 200")
    cache.end_revocation()
    assert server.passed == passed + 1


async def test_a_token_that_asks_too_often_is_refused(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"token_rate_per_minute": 5}), direct=True)
    async with app.router.lifespan_context(app), Listening(app, at_once=True).open() as server:
        token = token_of_first_start(settings)
        async with client_of(app, token) as admin:
            await make_project(admin)
        statuses = [(await asked(server, get(PATH, token)))[9:12] for _ in range(5)]
        assert statuses == [b"200"] * 4 + [b"429"]
        assert server.passed == 2


async def test_a_turn_of_the_event_loop_is_shared_between_tokens(
    app: FastAPI, server: Listening, admin: httpx.AsyncClient
) -> None:
    assert isinstance(app, Application)
    kept_path = app.kept_path
    assert kept_path is not None
    many, few = [await new_token(admin, "projects:read") for _ in range(2)]
    for token in (many, few):
        await asked(server, get(PATH, token))

    def answers(token: str, number: int) -> Sequence[bool]:
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
        scope = Head(PATH, headers=headers).scope()
        loop, url = asyncio.get_running_loop(), PATH.encode()
        given = [kept_path.answer_at_once(url, scope, loop, []) for _ in range(number)]
        return [isinstance(answer, bytes) for answer in given]

    assert all(answers(few, 1))
    assert answers(many, 3 * PER_TURN) == [True] * PER_TURN + [False] * 2 * PER_TURN
    assert all(answers(few, 3))


async def ask_at_once(
    stack: AsyncExitStack, server: Listening, requests: Sequence[bytes]
) -> list[Line]:
    """Send these requests, each on a connection of its own, in one turn of the event loop."""
    lines = [await stack.enter_async_context(line_to(server)) for _ in requests]
    for line, request in zip(lines, requests, strict=True):
        line.writer.write(request)
    return lines


async def test_answers_that_wait_for_a_turn_need_no_task(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    many, few = [await new_token(admin, "projects:read") for _ in range(2)]
    for token in (many, few):
        await asked(server, get(PATH, token))
    passed, order = server.passed, list[str]()
    async with AsyncExitStack() as stack:
        tokens = [few, *[many] * (5 * PER_TURN), few]
        lines = await ask_at_once(stack, server, [get(PATH, token) for token in tokens])

        async def read(line: Line, token: str) -> None:
            assert (await line.answer()).startswith(b"HTTP/1.1 200 OK")
            order.append(token)

        await asyncio.gather(*map(read, lines, tokens))
    assert server.passed == passed
    assert len(order) == len(tokens)
    # The last request of all did not wait for those before it.
    assert few in order[1 : 3 * PER_TURN]


@pytest.mark.parametrize("change", ["forget", "drop", "leave", "stop"])
async def test_what_happens_while_an_answer_waits(
    server: Listening, admin: httpx.AsyncClient, app: FastAPI, change: str
) -> None:
    many, few = [await new_token(admin, "projects:read") for _ in range(2)]
    for token in (many, few):
        await asked(server, get(PATH, token))
    assert isinstance(app, Application)
    assert app.kept_path is not None
    turns = app.kept_path._turns
    async with AsyncExitStack() as stack:
        await asked(server, get(PATH, few))
        lines = await ask_at_once(stack, server, [get(PATH, many)] * (3 * PER_TURN))
        async with asyncio.timeout(30):
            while not turns._waiting:
                await asyncio.sleep(0)
        # No turn ends before this block has made the change.
        if change == "forget":
            service_of(app).tokens._cache.clear()
        elif change == "drop":
            state_of(app).kept.stop()
        elif change == "leave":
            for line in lines:
                line.writer.transport.abort()
        else:
            server.stop()
        if change != "leave":
            for line in lines:
                assert (await line.answer()).startswith(b"HTTP/1.1 200 OK")
    await server.settled()
    assert (await asked(server, get(PATH, many))).startswith(b"HTTP/1.1 200 OK")


async def test_middleware_in_front_sees_every_request(settings: Settings) -> None:
    seen: list[str] = []

    class Watching:
        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["path"])
            await self._app(scope, receive, send)

    app = create_app(settings, direct=True)
    app.add_middleware(Watching)
    assert isinstance(app, Application)
    assert app.kept_path is None
    async with app.router.lifespan_context(app), client_of(app) as client:
        await client.get("/health", headers=bearer("none"))
    assert seen == ["/health"]
