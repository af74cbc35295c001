"""Messages as streams, over real connections."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.http.state import state_of
from backend.http.streams import streams
from backend.http.streams.stream import Ending
from config.settings import Settings
from tests.events.sse import ACCEPT, following
from tests.events.test_sources import Failing
from tests.messages.support import PATH, make_run, send
from tests.support.clients import async_client_at, new_token, token_of_first_start
from tests.support.http import places, problem, service_of
from tests.support.processes import Serving
from tests.support.servers import RunningServer


@pytest.fixture
async def user(server: RunningServer, installed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token over real connections."""
    async with server.async_client(token_of_first_start(installed)) as client:
        yield client


async def listed(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    """The messages of a list, oldest first."""
    page = (await client.get(path, params={"limit": 500})).json()
    assert page["next_cursor"] is None
    found: list[dict[str, Any]] = page["messages"]
    return sorted(found, key=lambda message: int(message["id"]))


async def test_a_stream_begins_now_and_has_the_messages_of_its_run(
    user: httpx.AsyncClient,
) -> None:
    path, other = [await make_run(user) for _ in range(2)]
    _, early = [await send(user, path, "early") for _ in range(2)]
    async with (
        following(user, path) as every,
        following(user, f"{path}?role=agent") as of_agent,
        following(user, f"{path}?after_id=0") as from_start,
    ):
        for stream, begin in ((every, early["id"]), (of_agent, early["id"]), (from_start, 0)):
            ready = await stream.ready()
            assert ready.data == {"last_id": early["id"], "epoch": 1}
            assert ready.id == f"1-{begin}"
        await send(user, other, "elsewhere")
        for role in ("user", "agent", "system", "agent"):
            await send(user, path, f"of the {role}\nand more", role)
        messages = await listed(user, path)
        assert [await every.entry() for _ in range(4)] == messages[2:]
        assert [await of_agent.entry() for _ in range(2)] == [messages[3], messages[5]]
        assert [await from_start.entry() for _ in messages] == messages
        text = (await user.get("/metrics")).text
        assert 'strongroom_streams_open{feed="messages"} 3.0' in text


@pytest.mark.parametrize("place", ["3", "1-3"])
async def test_a_stream_goes_on_after_the_id_that_is_sent(
    user: httpx.AsyncClient, place: str
) -> None:
    path = await make_run(user)
    messages = [await send(user, path, f"number {n}") for n in range(6)]
    async with following(user, f"{path}?after_id=1", {"Last-Event-ID": place}) as stream:
        assert (await stream.ready()).id == "1-3"
        assert [await stream.entry() for _ in range(3)] == messages[3:]


async def test_an_id_of_another_epoch_resets_a_stream(user: httpx.AsyncClient) -> None:
    path = await make_run(user)
    await send(user, path, "x")
    for place in ("7-1", "99"):
        async with following(user, path, {"Last-Event-ID": place}) as stream:
            reset = await stream.expect()
            assert (reset.event, reset.data) == ("reset", {"reason": "epoch"})
            assert (await stream.ready()).id == "1-1"


@pytest.mark.parametrize("writers", [20, pytest.param(100, marks=pytest.mark.long_form)])
async def test_of_many_writers_every_message_comes_once_and_in_order(
    user: httpx.AsyncClient, writers: int
) -> None:
    path, other = [await make_run(user) for _ in range(2)]
    each = 6

    async def write(number: int) -> list[int]:
        ids = []
        for n in range(each):
            ids.append((await send(user, path, f"{n} of {number}"))["id"])
            if not n % 3:
                await send(user, other, "elsewhere")
        return ids

    async def follow(leaves_after: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < writers * each:
            place = str(found[-1]["id"] if found else 0)
            async with following(user, path, {"Last-Event-ID": place}) as stream:
                await stream.ready()
                count = min(leaves_after, writers * each - len(found))
                found += [await stream.entry() for _ in range(count)]
        return found

    found, *written = await asyncio.gather(
        asyncio.gather(*(follow(leaves) for leaves in (50, 1000))),
        *(write(number) for number in range(writers)),
    )
    for ids in written:
        # Who waits for an answer before sending the next one keeps the order.
        assert ids == sorted(ids)
    messages = [m for one in found for m in one]
    assert [m["id"] for m in found[0]] == sorted(id for ids in written for id in ids)
    assert found[0] == found[1] == messages[: writers * each]
    by_cursor = (await user.get(path, params={"after_id": "0", "limit": 500})).json()["messages"]
    assert by_cursor == found[0][:500]


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.long_form)])
async def test_a_killed_server_goes_on_where_the_client_was(tmp_path: Path, kills: int) -> None:
    seen: list[int] = []
    acknowledged: list[int] = []

    async def write_until_killed(serving: Serving, client: httpx.AsyncClient) -> None:
        try:
            for number in range(1000):
                acknowledged.append((await send(client, PATH, f"{number}"))["id"])
                if len(acknowledged) % 40 == 0:
                    serving.process.send_signal(signal.SIGKILL)
        except httpx.TransportError:
            pass

    for kill in range(kills):
        with Serving(tmp_path / "data") as serving:
            async with async_client_at(serving.url, serving.token) as client:
                if not kill:
                    assert await make_run(client) == PATH
                place = {"Last-Event-ID": f"1-{seen[-1] if seen else 0}"}
                async with following(client, PATH, place) as stream:
                    await stream.ready()
                    writers = [write_until_killed(serving, client) for _ in range(4)]
                    writing = asyncio.gather(*writers)
                    seen += [m.data["id"] for m in await stream.ended() if m.data is not None]
                    await writing
            serving.finish()
    with Serving(tmp_path / "data") as serving:
        async with async_client_at(serving.url, serving.token) as client:
            page = await client.get(PATH, params={"after_id": 0, "limit": 500})
            stored = [message["id"] for message in page.json()["messages"]]
            async with following(client, PATH, {"Last-Event-ID": f"1-{seen[-1]}"}) as stream:
                await stream.ready()
                if seen[-1] < stored[-1]:
                    seen += await stream.until(stored[-1])
    assert seen == stored
    assert set(acknowledged) <= set(stored)
    assert len(acknowledged) >= 40 * kills


async def test_who_may_not_read_the_run_may_not_follow_it(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    path, other = [await make_run(user) for _ in range(2)]
    bound = await new_token(user, "runs:read", project_ids=[2])
    writer = await new_token(user, "runs:write")
    async with server.async_client(bound) as client, server.async_client(writer) as blind:
        answers = [await client.get(of, headers=ACCEPT) for of in (path, path.replace("1", "99"))]
        for answer in answers:
            problem(answer, "agent_run_not_found")
        problem(await blind.get(path, headers=ACCEPT), "forbidden")
        refused = await client.get(other, headers=ACCEPT, params={"cursor": "c"})
        assert places(refused) == ["/query/cursor"]
        async with following(client, other) as stream:
            await stream.ready()
            await send(user, path, "not for everybody")
            own = await send(user, other, "for the token")
            assert await stream.entry() == own


async def test_a_stream_ends_with_its_token(server: RunningServer, user: httpx.AsyncClient) -> None:
    path = await make_run(user)
    token = await new_token(user, "runs:read")
    made = (await user.get("/api/tokens")).json()["tokens"][0]["id"]
    async with server.async_client(token) as client, following(client, path) as stream:
        await stream.ready()
        assert (await user.delete(f"/api/tokens/{made}")).status_code == 204
        [last] = await stream.ended()
        assert last.retry is not None
    assert state_of(server.app).streams.ended == {Ending.TOKEN: 1}


async def test_a_message_stream_is_one_of_the_streams(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    state_of(server.app).streams.limit = 1
    path = await make_run(user)
    async with following(user, path) as stream:
        await stream.ready()
        problem(await user.get(path, headers=ACCEPT), "too_many_streams")


async def test_the_stream_of_a_removed_run_ends(
    server: RunningServer, user: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.01)
    path, other = [await make_run(user) for _ in range(2)]
    feed = service_of(server.app).messages.feed
    failing = Failing(feed.removed, 2)
    monkeypatch.setattr(feed, "removed", failing)
    async with following(user, path) as ended, following(user, other) as stays:
        for stream in (ended, stays):
            await stream.ready()
        purged = await user.delete("/api/projects/1", params={"purge": "true"})
        assert purged.status_code == 204
        [last] = await ended.ended()
        assert last.retry is not None
        problem(await user.get(path, headers=ACCEPT), "agent_run_not_found")
        message = await send(user, other, "still here")
        assert await stays.entry() == message
    assert not failing.failures
    assert state_of(server.app).streams.ended[Ending.REMOVED] == 1
