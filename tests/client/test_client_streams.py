"""Streams go on where they were cut off."""

import asyncio
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import strongroom
from strongroom import AsyncClient
from tests.client.conftest import Connect, new_project
from tests.client.proxy import Address, Proxy
from tests.support.processes import Serving
from tests.support.servers import RunningServer


def _address(url: str) -> Address:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def test_events_from_the_oldest_on(python: AsyncClient) -> None:
    await new_project(python)
    async with python.events.stream(after=0) as stream:
        last = await stream.ready()
        ids = [(await anext(stream)).id for _ in range(last)]
        assert ids == list(range(1, last + 1))
        made = await new_project(python)
        event = await anext(stream)
        assert (event.kind, event.resource) == ("project.created", f"projects/{made.id}")
        assert stream.last_event_id == f"1-{event.id}"


async def test_a_stream_with_filters_goes_on_after_another(python: AsyncClient) -> None:
    project = await new_project(python)
    async with python.events.stream(resource=f"projects/{project.id}", after=0) as stream:
        assert (await anext(stream)).kind == "project.created"
        place = stream.last_event_id
    await python.projects.update(project.id, name="other")
    async with python.events.stream(
        resource=f"projects/{project.id}", after=place, kind=["project.updated"]
    ) as stream:
        assert (await anext(stream)).version == 2


async def test_logs_and_messages(python: AsyncClient) -> None:
    project = await new_project(python)
    run = await python.agent_runs.create(project_id=project.id, target_text="Bake")
    async with (
        python.logs.stream(agent_run_id=run.id) as logs,
        python.messages.stream(run.id, after=0) as messages,
    ):
        await logs.ready()
        await python.logs.create(level="INFO", message="kneading", agent_run_id=run.id)
        await python.messages.create(run.id, role="user", content="Go on.")
        assert (await anext(logs)).message == "kneading"
        assert (await anext(messages)).content == "Go on."


@pytest.mark.usefixtures("at_once")
async def test_a_stream_that_is_cut_off_misses_nothing(
    python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    project = await new_project(python)
    async with Proxy(service.address, is_tunnel=True) as proxy:
        client = connect(proxy.url)
        async with client.events.stream(resource=f"projects/{project.id}") as stream:
            await stream.ready()
            versions = []
            for number in range(12):
                # Some events come while there is no connection.
                await proxy.cut()
                await python.projects.update(project.id, name=f"name {number}")
                if number % 3 == 2:
                    versions += [(await anext(stream)).version for _ in range(3)]
    assert versions == list(range(2, 14))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.long_form)])
async def test_a_stream_goes_on_when_the_server_was_killed(
    kind: Any, tmp_path: Path, kills: int
) -> None:
    made: list[int] = []
    seen: list[int] = []
    async with Proxy(("127.0.0.1", 9), is_tunnel=True) as proxy:
        with Serving(tmp_path / "data") as serving:
            proxy.target = _address(serving.url)
            async with kind(proxy.url, serving.token, max_retries=200) as client:
                stream = client.events.stream(kind="project.created")
                await stream.ready()
                reading = asyncio.create_task(_read(stream, seen, 5 * (kills + 1)))
                made += [(await new_project(client)).id for _ in range(5)]
                await asyncio.to_thread(serving.end, signal.SIGKILL)
                for round_ in range(kills):
                    with Serving(tmp_path / "data") as again:
                        proxy.target = _address(again.url)
                        made += [(await new_project(client)).id for _ in range(5)]
                        if round_ == kills - 1:
                            await reading
                        await asyncio.to_thread(again.end, signal.SIGKILL)
                await stream.aclose()
    assert seen == made


async def _read(stream: Any, seen: list[int], count: int) -> None:
    while len(seen) < count:
        seen.append((await anext(stream)).project_id)


async def test_a_reset_is_raised_and_the_stream_can_be_read_on(python: AsyncClient) -> None:
    project = await new_project(python)
    async with python.events.stream(after="999-1") as stream:
        with pytest.raises(strongroom.StreamReset) as caught:
            await anext(stream)
        assert caught.value.reason == "epoch"
        # What is read after `ready` is complete with what follows.
        assert await stream.ready() > 0
        await python.projects.update(project.id, name="other")
        assert (await anext(stream)).resource == f"projects/{project.id}"


async def test_a_refused_stream_says_why(
    python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    with pytest.raises(strongroom.Unauthenticated):
        await anext(connect(service.url, "sr_wrong").events.stream())
    with pytest.raises(strongroom.ValidationFailed):
        await anext(python.events.stream(after="no id"))
    with pytest.raises(strongroom.ConnectionFailed):
        await connect("http://127.0.0.1:9", max_retries=1).events.stream().ready()


async def test_a_stream_ends_with_its_token(
    python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    made = await python.tokens.create(name="reader", scopes=["projects:read"])
    async with connect(service.url, made.token).events.stream() as stream:
        await stream.ready()
        await python.tokens.delete(made.id)
        with pytest.raises(strongroom.Unauthenticated):
            await anext(stream)


async def test_a_closed_stream_has_ended(python: AsyncClient) -> None:
    stream = python.events.stream(after=0)
    assert (await anext(stream)).id == 1
    await stream.aclose()
    assert [event async for event in stream] == []
    unread = python.events.stream()
    await unread.aclose()
    with pytest.raises(strongroom.ClientClosed):
        await unread.ready()


async def test_a_read_that_is_cancelled_loses_nothing(service: RunningServer, token: str) -> None:
    async with AsyncClient(service.url, token) as client:
        project = await new_project(client)
        async with client.events.stream(resource=f"projects/{project.id}") as stream:
            await stream.ready()
            for version in (2, 3, 4):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(stream), 0.02)
                await client.projects.update(project.id, name=f"name {version}")
                assert (await anext(stream)).version == version


async def test_what_is_no_stream_is_told(connect: Connect) -> None:
    def page(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text='data: {"id": "x"}\n\n')

    client = connect("http://service.test", transport=httpx.MockTransport(page))
    with pytest.raises(strongroom.UnexpectedAnswer):
        await client.events.stream().ready()
