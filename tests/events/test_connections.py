"""Streams over connections of every kind."""

import asyncio
import io
import re
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from tests.support.clients import token_of_first_start
from tests.support.servers import RunningServer

STREAM = "Host: localhost\r\nAccept: text/event-stream\r\n"
READY = b'event: ready\ndata: {"last_id":1,"epoch":1}\nid: 1-0\n\n'


@pytest.fixture
async def user(server: RunningServer, installed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token over real connections."""
    async with server.async_client(token_of_first_start(installed)) as client:
        yield client


def ask(
    user: httpx.AsyncClient, version: str = "1.1", method: str = "GET", lines: str = ""
) -> bytes:
    """A request for a stream from the oldest event on."""
    token = user.headers["authorization"]
    head = f"{method} /api/events?after=0 HTTP/{version}\r\n{STREAM}Authorization: {token}\r\n"
    return f"{head}{lines}\r\n".encode()


def read_to(connection: socket.socket, mark: bytes) -> bytes:
    """What arrives up to the mark, which must come."""
    data = b""
    while mark not in data:
        some = connection.recv(65536)
        assert some, data
        data += some
    return data


async def until_closed(server: RunningServer) -> None:
    """Wait until no stream is open."""
    while state_of(server.app).streams.open():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Connection: close\r\n",
        "Accept-Encoding: gzip\r\nConnection: close\r\n",
        "Accept-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "Origin: https://elsewhere.example\r\n",
        "If-None-Match: *\r\n",
    ],
)
async def test_a_stream_is_the_same_whatever_the_request_says(
    server: RunningServer, user: httpx.AsyncClient, lines: str
) -> None:
    end = b"0\r\n\r\n" if "chunked" in lines else b""
    with closing(server.connect()) as connection:
        connection.sendall(ask(user, lines=lines) + end)
        data = await asyncio.to_thread(read_to, connection, b"id: 1-1\n\n")
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    for line in (b"connection: close", b"transfer-encoding: chunked", b"cache-control: no-store"):
        assert head.count(b"\r\n" + line) == 1
    assert b"content-encoding" not in head
    assert READY in body
    await until_closed(server)


async def test_a_client_of_the_first_version_gets_no_chunks(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(ask(user, version="1.0"))
        data = await asyncio.to_thread(read_to, connection, b"id: 1-1\n\n")
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body.startswith(READY + b'data: {"id":1,')
        state_of(server.app).streams.stop()
        rest = b""
        while some := await asyncio.to_thread(connection.recv, 65536):
            rest += some
    assert re.fullmatch(rb"(.*\n\n)?retry: 1\d\d\d\n\n", rest, re.DOTALL), rest


async def test_a_quiet_stream_is_no_slow_client(installed: Settings) -> None:
    limits = Connections(ConnectionLimits(seconds=0.3))
    with RunningServer(create_app(installed), limits) as server:
        async with server.async_client(token_of_first_start(installed)) as user:
            with closing(server.connect()) as quiet:
                quiet.sendall(ask(user))
                await asyncio.to_thread(read_to, quiet, b"id: 1-1\n\n")
                # Clients that begin later and send no request are closed for that.
                for _ in range(2):
                    with closing(server.connect()) as slow:
                        assert await asyncio.to_thread(slow.recv, 1) == b""
                assert state_of(server.app).streams.open() == {"events": 1}
                await user.post("/api/tokens", json={"name": "t", "scopes": ["runs:read"]})
                assert b"token.created" in await asyncio.to_thread(read_to, quiet, b"id: 1-2\n\n")


async def test_streams_stand_in_a_row_of_requests(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    token = user.headers["authorization"]
    me = f"GET /api/me HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\r\n"
    with closing(server.connect()) as connection:
        # What follows a stream gets no answer: the connection closes behind it.
        connection.sendall(me.encode() * 2 + ask(user) + me.encode())
        data = await asyncio.to_thread(read_to, connection, b"id: 1-1\n\n")
        assert data.count(b"HTTP/1.1 200 OK") == 3
    await user.post("/api/projects", json={"name": "n", "github_owner": "o", "github_repo": "r"})
    await until_closed(server)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_head_of_a_stream_takes_no_place(
    server: RunningServer, user: httpx.AsyncClient, version: str
) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(ask(user, version=version, method="HEAD"))
        data = await asyncio.to_thread(read_to, connection, b"\r\n\r\n")
    assert b"content-type: text/event-stream" in data
    streams = state_of(server.app).streams
    assert not streams.open()
    assert not streams.ended


@pytest.mark.parametrize("lines", ["", "Connection: close\r\n"])
async def test_a_client_that_is_gone_before_its_stream_leaves_nothing(
    server: RunningServer, user: httpx.AsyncClient, log: io.StringIO, lines: str
) -> None:
    for _ in range(20):
        with closing(server.connect()) as connection:
            connection.sendall(ask(user, lines=lines))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    await until_closed(server)
    assert "unhandled error" not in log.getvalue()
    assert 'status="500"' not in (await user.get("/metrics")).text
