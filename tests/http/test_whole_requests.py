"""A request that arrives as a whole is answered in one piece, with the bytes that uvicorn sends for
ASGI's messages."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from backend.http.exchange import SECURITY_HEADERS
from backend.http.guarded_route import GuardedRoute
from backend.http.state import state_of
from backend.http.whole_requests import AnswerLines
from backend.main import create_app
from config.settings import Settings
from tests.http.heads import ORIGIN
from tests.http.listening import Listening, asked, line_to
from tests.http.ways import Way, in_order
from tests.support.clients import client_of, token_of_first_start
from tests.support.http import make_project
from tests.support.resources import Resources

KINDS_OF_CLIENTS = {
    "ordinary": {},
    "page": {"Origin": ORIGIN, "Accept-Encoding": "identity"},
    "other page": {"Origin": "https://other.example"},
    "closing": {"Connection": "close"},
}


@pytest.fixture
def other_settings(settings: Settings, database_template: Path, tmp_path: Path) -> Settings:
    """The same settings for data elsewhere."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(database_template, other / database_template.name)
    return settings.model_copy(update={"data_dir": other})


async def served(
    stack: AsyncExitStack, settings: Settings, headers: dict[str, str], *, at_once: bool
) -> tuple[Way, Listening]:
    """An application behind a server, and a client of it that sends these headers."""
    app = create_app(settings.model_copy(update={"cors_origins": (ORIGIN,)}), direct=True)
    await stack.enter_async_context(app.router.lifespan_context(app))
    # Background work would run at different times.
    await state_of(app).installation.background.stop()
    listening = await stack.enter_async_context(Listening(app, at_once=at_once).open())
    token = token_of_first_start(settings)
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{listening.port}",
        headers={"Host": "localhost", "Authorization": f"Bearer {token}", **headers},
    )
    await stack.enter_async_context(client)
    return Way(client, await Resources(client).all()), listening


@pytest.mark.parametrize(
    "kind",
    [
        "page",
        *(
            pytest.param(kind, marks=pytest.mark.long_form)
            for kind in KINDS_OF_CLIENTS
            if kind != "page"
        ),
    ],
)
async def test_every_route_answers_the_same_in_one_piece(
    settings: Settings, other_settings: Settings, kind: str
) -> None:
    headers = KINDS_OF_CLIENTS[kind]
    async with AsyncExitStack() as stack:
        whole, listening = await served(stack, settings, headers, at_once=True)
        in_parts, _ = await served(stack, other_settings, headers, at_once=False)
        routes = create_app(settings, direct=True).router.routes
        direct = {r.key for r in routes if isinstance(r, GuardedRoute) and r.direct is not None}
        for call in in_order():
            before = listening.in_parts
            answers = await whole.answers(call)
            assert answers == await in_parts.answers(call), str(call)
            if (call.method, call.template) in direct and "Connection" not in headers:
                # All but the answer to HEAD, and what is compressed.
                allowed = (call.method == "GET") + sum(map(_is_compressed, answers))
                assert listening.in_parts <= before + allowed, str(call)


def _is_compressed(answer: Any) -> bool:
    _, headers, _ = answer
    return ("content-encoding", "gzip") in headers


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """An application, however the tests are run."""
    app = create_app(settings, direct=True)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def server(app: FastAPI) -> AsyncIterator[Listening]:
    """A server in front of it."""
    async with Listening(app, at_once=True).open() as server:
        yield server


@pytest.fixture
async def admin(app: FastAPI, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator, past the server."""
    async with client_of(app, token_of_first_start(settings)) as admin:
        await make_project(admin)
        yield admin


def post(path: str, body: object, admin: httpx.AsyncClient, *headers: str) -> bytes:
    """A request with a JSON body."""
    content = json.dumps(body).encode()
    lines = (
        *(f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"),
        *(f"Authorization: {admin.headers['Authorization']}", f"Content-Length: {len(content)}"),
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + content


LOG = {"level": "INFO", "message": "m"}


async def count_of_logs(admin: httpx.AsyncClient) -> int:
    """How many logs of the tests are stored."""
    logs = (await admin.get("/api/logs?limit=500")).json()["logs"]
    return sum(log["message"] == "m" for log in logs)


async def begun(server: Listening) -> None:
    """Wait until the server serves a request."""
    async with asyncio.timeout(30):
        while not server.passed:
            await asyncio.sleep(0)


async def test_a_request_in_pieces_is_answered_alike(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    data = post("/api/logs", LOG, admin, "X-Request-ID: one")
    whole = await asked(server, data)
    assert whole.startswith(b"HTTP/1.1 201 Created\r\ndate: today\r\nserver: this\r\n")
    assert server.in_parts == 0
    cut = data.index(b"\r\n\r\n") + 4
    for end in (10, cut, cut + 3, len(data) - 1):
        async with line_to(server) as line:
            for part in (data[:end], data[end:]):
                line.writer.write(part)
                await line.writer.drain()
                await asyncio.sleep(0.001)
            assert await line.answer() == whole
    assert await count_of_logs(admin) == 5


async def test_requests_that_arrive_together_are_answered_in_their_order(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    requests = [post("/api/logs", LOG, admin, f"X-Request-ID: n{n}") for n in range(20)]
    async with line_to(server) as line:
        line.writer.write(b"".join(requests))
        for number in range(20):
            assert b"x-request-id: n%d\r\n" % number in await line.answer()
        line.writer.write(requests[0])
        assert (await line.answer()).startswith(b"HTTP/1.1 201")
    assert await count_of_logs(admin) == 21
    assert server.in_parts == 0


async def test_what_follows_a_whole_request_waits_for_its_answer(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    async with line_to(server) as line:
        line.writer.write(post("/api/logs", LOG, admin, "X-Request-ID: first"))
        await asyncio.sleep(0)
        line.writer.write(post("/api/logs", LOG, admin, "X-Request-ID: second")[:-1])
        assert b"x-request-id: first\r\n" in await line.answer()
        line.writer.write(b"}")
        assert b"x-request-id: second\r\n" in await line.answer()
        line.writer.write(b"no HTTP\r\n\r\n")
        assert (await line.answer()).startswith(b"HTTP/1.1 400")


async def test_a_client_that_leaves_has_written_all_the_same(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    async with line_to(server) as line:
        line.writer.write(post("/api/logs", LOG, admin))
        await begun(server)
    await server.settled()
    assert await count_of_logs(admin) == 1


async def test_a_client_that_reads_nothing_gets_all_in_the_end(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    count, wrong = 300, {"level": "INFO", "message": 1, "context": {"k" * 900: 1}}
    requests = [post("/api/logs", wrong, admin, f"X-Request-ID: n{n}") for n in range(count)]
    async with line_to(server) as line:
        for request in requests:
            line.writer.write(request)
            await asyncio.sleep(0)
        for number in range(count):
            answer = await line.answer()
            assert answer.startswith(b"HTTP/1.1 422")
            assert b"x-request-id: n%d\r\n" % number in answer


async def test_after_the_server_has_begun_to_stop_the_connection_closes(
    server: Listening, admin: httpx.AsyncClient
) -> None:
    async with line_to(server) as line:
        line.writer.write(post("/api/logs", LOG, admin))
        await begun(server)
        server.stop()
        answer = await line.answer()
        assert answer.startswith(b"HTTP/1.1 201")
        assert b"connection: close\r\n" in answer
        assert await line.answer() == b""
    assert await count_of_logs(admin) == 1


LENGTH = (b"content-length", b"0")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([LENGTH, (b"location", b"/x\r\nforged: 1")], 201),
        ([LENGTH, (b"location", b"/x\x00")], 201),
        ([LENGTH, (b"connection", b"close")], 200),
        ([(b"transfer-encoding", b"chunked")], 200),
        ([LENGTH], 299),
    ],
    ids=["no length", "line break", "NUL", "connection", "chunked", "status"],
)
def test_what_only_the_server_can_send_is_left_to_it(
    headers: list[tuple[bytes, bytes]], status: int
) -> None:
    answer = Response(status_code=status)
    answer.raw_headers = headers
    assert AnswerLines().whole(answer, [], [], ()) is None


def test_the_headers_of_an_answer_come_in_their_order() -> None:
    answer, lines = Response(b"{}", 201, {"Location": "/x"}), AnswerLines()
    for date in (b"today", b"tomorrow"):
        sent = lines.whole(answer, [(b"date", date)], [(b"x-request-id", b"1")], SECURITY_HEADERS)
        last = b"".join(b"%s: %s\r\n" % header for header in SECURITY_HEADERS)
        assert sent == (
            b"HTTP/1.1 201 Created\r\ndate: %b\r\nlocation: /x\r\ncontent-length: 2\r\n"
            b"x-request-id: 1\r\n%b\r\n{}" % (date, last)
        )
