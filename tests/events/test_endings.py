"""Who may have a stream, how long, and what it costs others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest

from backend.http.state import state_of
from backend.http.streams import streams
from backend.http.streams.stream import Ending
from backend.main import create_app
from config.settings import Settings
from database.base import utc_now
from tests.events.sse import ACCEPT, Message, following
from tests.support.clients import NO_TLS, new_token, token_of_first_start
from tests.support.clocks import SetClock
from tests.support.http import make_project, problem, service_of
from tests.support.servers import RunningServer


@pytest.fixture
async def user(server: RunningServer, installed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token over real connections."""
    async with server.async_client(token_of_first_start(installed)) as client:
        yield client


async def test_the_streams_of_a_revoked_token_end(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    first, second = [await new_token(user, "projects:read", "logs:read") for _ in range(2)]
    revoked = (await user.get("/api/tokens")).json()["tokens"][1]["id"]
    async with (
        server.async_client(first) as one,
        server.async_client(second) as other,
        following(one) as ended,
        following(other) as stays,
        following(one, "/api/logs") as logs,
    ):
        for stream in (ended, stays, logs):
            await stream.ready()
        assert (await user.delete(f"/api/tokens/{revoked}")).status_code == 204
        await make_project(user)
        for stream in (ended, logs):
            messages = await stream.ended()
            assert [message.data for message in messages] == [None]
            assert messages[0].retry is not None
        assert (await stays.entry())["kind"] == "project.created"
    assert state_of(server.app).streams.ended[Ending.TOKEN] == 2


async def test_the_streams_of_a_session_end_with_it(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    token = await new_token(user, "projects:read")
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as browser:
        own = {"Origin": server.url, "X-Strongroom-Request": "1"}
        cookies = []
        for _ in range(2):
            signed_in = await browser.post("/api/session", json={"token": token}, headers=own)
            assert signed_in.status_code == 204, signed_in.text
            cookies.append({"Cookie": signed_in.headers["set-cookie"].partition(";")[0]})
        async with (
            following(browser, headers=cookies[0]) as ended,
            following(browser, headers=cookies[1]) as stays,
        ):
            for stream in (ended, stays):
                await stream.ready()
            signed_out = await browser.delete("/api/session", headers={**own, **cookies[0]})
            assert signed_out.status_code == 204, signed_out.text
            assert [message.data for message in await ended.ended()] == [None]
            await make_project(user)
            assert (await stays.entry())["kind"] == "project.created"


async def test_the_streams_of_an_expired_token_end(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    token = await new_token(user, "projects:read", expires_in="1h")
    async with server.async_client(token) as client, following(client) as stream:
        await stream.ready()
        clock = SetClock()
        clock.now = utc_now() + timedelta(hours=2)
        service_of(server.app).clock = clock
        assert [message.data for message in await stream.ended()] == [None]


async def test_the_streams_of_an_expired_session_end(
    server: RunningServer, user: httpx.AsyncClient, installed: Settings
) -> None:
    body = {"token": token_of_first_start(installed)}
    own = {"Origin": server.url}
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as browser:
        signed_in = await browser.post("/api/session", json=body, headers=own)
        cookie = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
        async with following(browser, headers=cookie) as ended, following(user) as stays:
            for stream in (ended, stays):
                await stream.ready()
            clock = SetClock()
            clock.now = utc_now() + timedelta(hours=13)
            service_of(server.app).clock = clock
            assert [message.data for message in await ended.ended()] == [None]
            problem(await browser.get("/api/events", headers=cookie), "unauthenticated")
            await make_project(user)
            # The end of the session may be recorded before.
            while (await stays.entry())["kind"] != "project.created":
                pass


async def test_past_the_limit_a_stream_is_refused(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    state_of(server.app).streams.limit = 2
    async with following(user) as first, following(user, "/api/logs") as second:
        await first.ready()
        await second.ready()
        answer = await user.get("/api/events", headers=ACCEPT)
        problem(answer, "too_many_streams")
        assert int(answer.headers["retry-after"]) > 0
        assert (await user.get("/api/events")).status_code == 200
        # A token with fewer gets a place from the one with the most.
        token = await new_token(user, "projects:read")
        async with server.async_client(token) as other, following(other) as third:
            await third.ready()
            [farewell] = await second.ended()
            assert farewell.retry is not None
            await make_project(user)
            # The first one has heard of the token as well.
            assert (await third.entry())["id"] == (await first.entry())["id"] + 1


async def test_a_place_is_free_again_when_a_client_leaves(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    streams = state_of(server.app).streams
    streams.limit = 1
    for _ in range(3):
        async with following(user) as stream:
            await stream.ready()
        while streams.open():
            await asyncio.sleep(0.01)
    assert streams.ended == {Ending.CLIENT: 3}


async def test_a_head_takes_the_place_of_nobody(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    state_of(server.app).streams.limit = 2
    token = await new_token(user, "projects:read")
    async with (
        following(user) as first,
        following(user) as second,
        server.async_client(token) as other,
    ):
        for stream in (first, second):
            await stream.ready()
        assert (await other.head("/api/events", headers=ACCEPT)).status_code == 200
        await make_project(user)
        for stream in (first, second):
            assert (await stream.entry())["kind"] == "project.created"


async def test_an_application_that_starts_again_takes_streams(installed: Settings) -> None:
    app = create_app(installed)
    for _ in range(2):
        with RunningServer(app) as server:
            async with (
                server.async_client(token_of_first_start(installed)) as user,
                following(user) as stream,
            ):
                await stream.ready()
                await make_project(user)
                assert (await stream.entry())["kind"] == "project.created"


async def test_streams_leave_connections_to_other_requests(installed: Settings) -> None:
    settings = installed.model_copy(update={"max_streams": 50})
    app = create_app(settings)
    state_of(app).streams.fit(40)
    assert state_of(app).streams.limit == 30
    state_of(app).streams.fit(4096)
    assert state_of(app).streams.limit == 30


async def test_a_stream_holds_no_slot(installed: Settings) -> None:
    settings = installed.model_copy(update={"max_concurrent_requests": 1})
    with RunningServer(create_app(settings)) as server:
        async with (
            server.async_client(token_of_first_start(settings)) as user,
            AsyncExitStack() as stack,
        ):
            stream = await stack.enter_async_context(following(user, "/api/events?after=0"))
            await stream.ready()
            for path in ("/api/events", "/api/logs", "/api/logs?q=a"):
                other = await stack.enter_async_context(following(user, path))
                await other.ready()
            await make_project(user)
            end = (await user.get("/api/audit?limit=1")).json()["entries"][0]["id"]
            assert await stream.until(end) == list(range(1, end + 1))


async def test_a_quiet_stream_gets_comments(
    user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "COMMENT_SECONDS", 0.01)
    async with following(user) as stream:
        await stream.ready()
        for _ in range(2):
            message = await stream.expect()
            assert message == Message(comments=message.comments)
            assert message.comments
        await make_project(user)
        assert (await stream.entry())["kind"] == "project.created"
