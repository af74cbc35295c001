"""The source of streams: what it does while it lags, and when the database fails."""

import asyncio
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, closing
from typing import Any, cast

import httpx
import pytest

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.http.state import state_of
from backend.http.streams import source
from backend.http.streams.stream import Ending
from backend.main import create_app
from backend.services.events.events import EventFeed
from backend.services.feeds import Part
from config.settings import Settings
from database.base import time_text, utc_now
from database.errors import DatabaseBusy
from tests.events.sse import PATIENCE, following
from tests.support.clients import token_of_first_start
from tests.support.http import make_project, service_of
from tests.support.servers import RunningServer


@pytest.fixture
async def user(server: RunningServer, installed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token over real connections."""
    async with server.async_client(token_of_first_start(installed)) as client:
        yield client


async def last_id(client: httpx.AsyncClient) -> int:
    return int((await client.get("/api/audit?limit=1")).json()["entries"][0]["id"])


async def make_log(client: httpx.AsyncClient, message: str) -> None:
    answer = await client.post("/api/logs", json={"level": "INFO", "message": message})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("path", ["/api/events", "/api/events?after={end}"])
async def test_a_stream_that_begins_before_others_were_told_repeats_nothing(
    user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with following(user) as early:
        await early.ready()
        monkeypatch.setattr(source, "PAUSE_SECONDS", 0.5)
        await make_project(user)
        await early.entry()
        # The source pauses now, so that the stream that begins knows more than it has sent.
        await make_project(user)
        end = await last_id(user)
        async with following(user, path.format(end=end)) as stream:
            assert (await stream.ready()).data["last_id"] == end
            await make_project(user)
            assert (await stream.entry())["id"] == end + 1
        assert await early.until(end + 2)


async def test_entries_of_another_program_are_read(
    user: httpx.AsyncClient, installed: Settings
) -> None:
    async with following(user) as stream:
        begin = (await stream.ready()).data["last_id"]
        path = installed.data_dir / "strongroom.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200)"
                " INSERT INTO audit_entries (id, at, actor, action, target, fields, mac)"
                " SELECT ? + n, ?, 'x', 'project.updated', 'projects/1', '[]', ? FROM n",
                (begin, time_text(utc_now()), "a" * 64),
            )
        await make_project(user)
        end = await last_id(user)
        assert await stream.until(end) == list(range(begin + 1, end + 1))


async def test_one_reading_of_a_commit_serves_all_streams(
    server: RunningServer, user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(server.app)
    reads: list[tuple[str, Any]] = []
    for feed in (service.events.feed, service.logs.feed):

        def counting(
            *given: Any, _name: str = feed.name, _real: Any = feed.following
        ) -> Awaitable[Part]:
            reads.append((_name, given[0]))
            return cast("Awaitable[Part]", _real(*given))

        monkeypatch.setattr(feed, "following", counting)
    async with AsyncExitStack() as stack:
        paths = ("/api/events", "/api/logs?q=hello", "/api/logs")
        streams = [await stack.enter_async_context(following(user, path)) for path in paths * 10]
        for stream in streams:
            await stream.ready()
        reads.clear()
        await make_project(user)
        await make_log(user, "hello")
        for stream in streams:
            await stream.entry()
        # The entries of a commit are known. Logs are read, without the filter of any stream; the
        # service may have stored some of its own.
        assert set(reads) == {("logs", None)}
        assert len(reads) < len(streams) / 3


class Failing:
    """Fails as often as a test says, then does what it stands for."""

    def __init__(self, real: Any, failures: int) -> None:
        self._real = real
        self.failures = failures

    async def __call__(self, *arguments: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise DatabaseBusy("try again")
        return await self._real(*arguments)


async def test_logs_that_can_not_be_read_come_later(
    server: RunningServer, user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "RETRY_SECONDS", 0.01)
    feed = service_of(server.app).logs.feed
    async with following(user, "/api/logs") as stream:
        await stream.ready()
        failing = Failing(feed.following, 2)
        monkeypatch.setattr(type(feed), "following", lambda _, *given: failing(*given))
        await make_log(user, "only once")
        assert (await stream.entry())["message"] == "only once"
        assert not failing.failures


async def test_tokens_that_can_not_be_checked_delay_events(
    server: RunningServer, user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "RETRY_SECONDS", 0.01)
    tokens = service_of(server.app).tokens
    async with following(user) as stream:
        await stream.ready()
        failing = Failing(tokens.ended_among, 3)
        monkeypatch.setattr(tokens, "ended_among", failing)
        made = await user.post("/api/tokens", json={"name": "t", "scopes": ["runs:read"]})
        assert (await user.delete(f"/api/tokens/{made.json()['id']}")).status_code == 204
        project = await make_project(user)
        kinds = [(await stream.entry())["kind"] for _ in range(3)]
        assert kinds == ["token.created", "token.revoked", "project.created"]
        assert not failing.failures
        assert project


async def test_no_stream_stays_open_after_its_source_has_failed(
    server: RunningServer, user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_much(user)
    streams = state_of(server.app).streams
    async with following(user) as first:
        await first.ready()
        with closing(blocked(server, user, "/api/events?after=0")) as slow:
            while streams.open()["events"] < 2:
                await asyncio.sleep(0.01)
            real = EventFeed.committed

            def fail(*_: Any) -> Any:
                monkeypatch.setattr(EventFeed, "committed", real)
                raise RuntimeError

            monkeypatch.setattr(EventFeed, "committed", fail)
            await make_project(user)
            assert [message.data for message in await first.ended()] == [None]
            async with following(user) as later:
                await later.ready()
                await make_project(user)
                assert (await later.entry())["kind"] == "project.created"
            assert await asyncio.to_thread(ends, slow)


async def make_much(user: httpx.AsyncClient) -> None:
    """Many more events than a connection holds."""
    for _ in range(30):
        await make_project(user, secrets=[{"key": f"K{n}", "value": "v"} for n in range(100)])


def blocked(
    server: RunningServer, user: httpx.AsyncClient, path: str, line: str = ""
) -> socket.socket:
    """A connection whose client has asked for a stream, and reads nothing."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.settimeout(20)
    slow.connect(server.address)
    slow.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        f"Authorization: {user.headers['authorization']}\r\n{line}\r\n".encode()
    )
    return slow


def ends(connection: socket.socket) -> bool:
    """Read to the end, which must come."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("line", ["", "Connection: close\r\n"], ids=["stays open", "closes"])
async def test_a_client_that_does_not_read_is_cut_off_when_its_token_ends(
    installed: Settings, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Slow clients are not closed for that alone.
    patient = Connections(ConnectionLimits(seconds=1000))
    with RunningServer(create_app(installed), patient) as server:
        async with server.async_client(token_of_first_start(installed)) as user:
            await make_much(user)
            made = (await user.post("/api/tokens", json={"name": "t", "scopes": ["admin"]})).json()
            streams = state_of(server.app).streams
            async with server.async_client(made["token"]) as other:
                with closing(blocked(server, other, "/api/events?after=0", line)):
                    while not streams.open():
                        await asyncio.sleep(0.01)
                    await user.delete(f"/api/tokens/{made['id']}")
                    # The other connection is the user's.
                    async with asyncio.timeout(PATIENCE):
                        while server.open_connections > 1:
                            await asyncio.sleep(0.01)
            assert streams.ended == {Ending.TOKEN: 1}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
