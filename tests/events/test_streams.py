"""Events and logs as streams, over real connections."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http.state import state_of
from backend.http.streams.stream import Ending
from config.settings import Settings
from database.base import utc_now
from models import Scope
from tests.events.sse import ACCEPT, Following, following
from tests.support.clients import new_token, token_of_first_start
from tests.support.http import make_project, places, problem
from tests.support.servers import RunningServer

PATHS = ("/api/events", "/api/logs")
EXPECTED = 4 * 40 * 3
"""The events of 160 projects with a secret."""
WAYS: list[dict[str, str]] = [{}, {"Connection": "close"}]
"""Streams are written by the server itself, or in messages of ASGI if the client wants the
connection closed."""


@pytest.fixture
async def user(server: RunningServer, installed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token over real connections."""
    async with server.async_client(token_of_first_start(installed)) as client:
        yield client


async def last_id(client: httpx.AsyncClient) -> int:
    ids = [event["id"] for event in (await client.get("/api/events?limit=500")).json()["events"]]
    return int(ids[-1])


async def make_logs(client: httpx.AsyncClient, *messages: str, **fields: Any) -> None:
    logs = [{"level": "INFO", "message": message, **fields} for message in messages]
    answer = await client.post("/api/logs", json={"logs": logs})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("headers", WAYS, ids=["by the server", "by ASGI"])
async def test_a_stream_begins_now_and_tells_of_each_change(
    user: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    async with following(user, headers=headers) as stream:
        ready = await stream.ready()
        assert ready.data == {"last_id": await last_id(user), "epoch": 1}
        assert ready.id == f"1-{ready.data['last_id']}"
        await make_project(user, settings={"planning_statement": "p"})
        told = [await stream.entry() for _ in range(2)]
        listed = await user.get("/api/events", params={"after": ready.id})
        assert told == listed.json()["events"]


async def test_its_head_lets_no_proxy_keep_or_change_it(user: httpx.AsyncClient) -> None:
    headers = {"Accept-Encoding": "gzip", "Origin": "https://elsewhere.example"}
    async with following(user, headers=headers) as stream:
        head = stream.response.headers
        assert head["content-type"].partition(";")[0] == "text/event-stream"
        assert head["cache-control"] == "no-store"
        assert head["x-accel-buffering"] == "no"
        assert "content-encoding" not in head
        assert "content-length" not in head


@pytest.mark.parametrize("path", PATHS)
async def test_only_exactly_its_type_asks_for_a_stream(user: httpx.AsyncClient, path: str) -> None:
    for accept in ("*/*", "text/event-stream, */*", "text/event-stream;q=1", "application/json"):
        answer = await user.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json"
    answer = await user.head(path, headers=ACCEPT)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_what_follows_an_id_comes_once_and_in_order(user: httpx.AsyncClient) -> None:
    for _ in range(5):
        await make_project(user)
    end = await last_id(user)
    async with following(user, "/api/events?after=0") as stream:
        ready = await stream.ready()
        assert (ready.id, ready.data["last_id"]) == ("1-0", end)
        assert await stream.until(end) == list(range(1, end + 1))
    for place in ("2", "1-2"):
        # The header of a client that comes back wins over the URL that it was given first.
        async with following(user, "/api/events?after=0", {"Last-Event-ID": place}) as stream:
            assert (await stream.ready()).id == "1-2"
            assert await stream.until(end) == list(range(3, end + 1))


@pytest.mark.parametrize("headers", WAYS, ids=["by the server", "by ASGI"])
async def test_streams_that_come_and_go_under_load_miss_and_repeat_nothing(
    user: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    begin = await last_id(user)

    async def write() -> None:
        for _ in range(40):
            await make_project(user, secrets=[{"key": "A", "value": "v"}])

    async def follow(leaves_after: int) -> list[int]:
        ids: list[int] = []
        while len(ids) < EXPECTED:
            place = {"Last-Event-ID": str(ids[-1] if ids else begin)}
            async with following(user, headers={**place, **headers}) as stream:
                await stream.ready()
                count = min(leaves_after, EXPECTED - len(ids))
                ids += [(await stream.entry())["id"] for _ in range(count)]
        return ids

    found, *_ = await asyncio.gather(
        asyncio.gather(*(follow(leaves) for leaves in (7, 50, 1000))), *(write() for _ in range(4))
    )
    assert await last_id(user) == begin + EXPECTED
    assert found == [list(range(begin + 1, begin + EXPECTED + 1))] * 3


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_request_for_a_stream_is_refused(user: httpx.AsyncClient, path: str) -> None:
    answer = await user.get(path, headers={**ACCEPT, "Last-Event-ID": "sesame"})
    problem(answer, "bad_request")
    assert "sesame" not in answer.text
    assert places(await user.get(path, headers=ACCEPT, params={"cursor": "c"})) == ["/query/cursor"]
    # A browser sends an empty header before it has got an id.
    async with following(user, path, {"Last-Event-ID": ""}) as stream:
        await stream.ready()


async def test_a_stream_shows_what_the_list_shows(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    own = await make_project(user)
    bound = {"project_ids": [own["id"]]}
    tokens = [
        await new_token(user, *scopes, **fields)
        for scopes, fields in [
            (("projects:read",), {}),
            (("runs:read",), {}),
            (("audit:read",), {}),
            (("projects:read", "runs:read"), bound),
            (("admin",), bound),
        ]
    ]
    begin = await last_id(user)
    queries = ("", "&kind=secret.created&kind=agent_run.created", f"&project_id={own['id']}")
    for token in tokens:
        async with server.async_client(token) as client:
            for query in queries:
                async with following(client, f"/api/events?after={begin}{query}") as live:
                    await live.ready()
                    other = await make_project(user, settings={"planning_statement": "p"})
                    body = {"project_id": other["id"], "target_text": "t"}
                    await user.post("/api/agent-runs", json=body)
                    body = {"project_id": own["id"], "target_text": "t"}
                    await user.post("/api/agent-runs", json=body)
                    path = f"/api/projects/{own['id']}/secrets/KEY{await last_id(user)}"
                    await user.put(path, json={"value": "v"})
                    listed = await client.get(f"/api/events?limit=500&after={begin}{query}")
                    events = listed.json()["events"]
                    assert [await live.entry() for _ in events] == events
                    async with following(client, f"/api/events?after={begin}{query}") as later:
                        await later.ready()
                        assert [await later.entry() for _ in events] == events


FILTERS = (
    "level=DEBUG",
    "level=WARNING",
    "component=api",
    "correlation_id=c1",
    "agent_run_id=1",
    "project_id=1",
    "q=disk+full",
    "q=%22disk-full%22&level=INFO",
    "q=%F0%9F%98%80",
    "q=%E6%BC%A2%E5%AD%97",
    "since=2020-01-01T00:00:00Z",
    "until=2020-01-01T00:00:00Z",
    "timestamp_since=2020-01-01T00:00:00Z",
    "timestamp_until=2020-01-01T00:00:00Z",
    "timestamp_since=1999-01-01T00:00:00Z&timestamp_until=2000-01-01T00:00:00Z&level=warn",
)


async def test_logs_stream_with_the_filters_of_their_list(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    project = await make_project(user)
    await user.post("/api/agent-runs", json={"project_id": 1, "target_text": "t"})
    bound = await new_token(user, "logs:read", project_ids=[project["id"]])
    async with server.async_client(bound) as narrow:
        clients = {"admin": user, "bound": narrow}
        async with _many(clients, [f"/api/logs?{query}" for query in FILTERS]) as open_ones:
            await make_logs(user, "the disk is full", "Disk full!", "disk-full", level="ERROR")
            await make_logs(user, "grin \U0001f600", "漢字 is here", component="api")
            await make_logs(user, "one", "disk full", correlation_id="c1", agent_run_id=1)
            happened = {"timestamp": "1999-12-31T23:59:59Z"}
            await make_logs(user, "two", project_id=1, level="WARNING", **happened)
            for (name, path), stream in open_ones.items():
                listed = await clients[name].get(f"{path}&after_id=0")
                logs = listed.json()["logs"]
                assert [await stream.entry() for _ in logs] == logs, (name, path)
                async with following(clients[name], path, {"Last-Event-ID": "0"}) as later:
                    await later.ready()
                    assert [await later.entry() for _ in logs] == logs
            await make_logs(user, "the last one", level="CRITICAL", component="api", project_id=1)
            stream = open_ones["bound", "/api/logs?component=api"]
            assert (await stream.entry())["message"] == "the last one"


class _many:  # noqa: N801 - used as a function
    """Streams of these paths for each of the clients, all open and ready."""

    def __init__(self, clients: dict[str, httpx.AsyncClient], paths: list[str]) -> None:
        self._wanted = [(name, path) for name in clients for path in paths]
        self._clients = clients
        self._open: list[Any] = []

    async def __aenter__(self) -> dict[tuple[str, str], Following]:
        streams = {}
        for name, path in self._wanted:
            context = following(self._clients[name], path)
            streams[name, path] = stream = await context.__aenter__()
            self._open.append(context)
            await stream.ready()
        return streams

    async def __aexit__(self, *_: object) -> None:
        for context in self._open:
            await context.__aexit__(None, None, None)


async def test_no_value_reaches_a_stream(user: httpx.AsyncClient) -> None:
    secret = "a-value-of-no-stream"
    async with following(user) as stream:
        await stream.ready()
        await make_project(user, secrets=[{"key": "A", "value": secret}])
        await user.put("/api/projects/1/secrets/A", json={"value": f"{secret}-2"})
        await user.get("/api/projects/1/secrets/A/value")
        await user.patch("/api/projects/1", json={"name": "a-name-of-ours"})
        told = [await stream.entry() for _ in range(6)]
    assert [entry["kind"] for entry in told[2:]] == [
        "secret.created",
        "secret.updated",
        "secret.revealed",
        "project.updated",
    ]
    assert secret not in str(told)
    assert "a-name-of-ours" not in str(told)
    assert told[-1]["fields"] == ["name"]


async def test_metrics_tell_of_streams(user: httpx.AsyncClient) -> None:
    async with following(user) as stream:
        await stream.ready()
        await make_project(user)
        await stream.entry()
        text = (await user.get("/metrics")).text
        assert 'strongroom_streams_open{feed="events"} 1.0' in text
        assert 'strongroom_streams_open{feed="logs"} 0.0' in text
        # A project, and its configuration.
        assert 'strongroom_stream_entries_sent_total{feed="events"} 2.0' in text
        for ending in Ending:
            assert f'strongroom_streams_ended_total{{reason="{ending}"}} 0.0' in text


async def test_a_stream_is_measured_as_if_it_ended_when_it_began(
    server: RunningServer, user: httpx.AsyncClient
) -> None:
    began = utc_now()
    async with following(user) as stream:
        await stream.ready()
    while state_of(server.app).streams.open():
        await asyncio.sleep(0.01)
    await user.get("/health")
    text = (await user.get("/metrics")).text
    [line] = [
        line
        for line in text.splitlines()
        if line.startswith("strongroom_request_duration_seconds_sum")
        and 'route="/api/events"' in line
    ]
    assert 0 < float(line.split()[-1]) <= (utc_now() - began).total_seconds()


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope.value.endswith(":write")])
async def test_who_may_not_list_may_not_follow(
    server: RunningServer, user: httpx.AsyncClient, scope: Scope
) -> None:
    async with server.async_client(await new_token(user, scope)) as client:
        for path in PATHS:
            problem(await client.get(path, headers=ACCEPT), "forbidden")


async def test_without_a_server_of_ours_a_stream_works_as_well(application: FastAPI) -> None:
    """The application alone, in ASGI's messages."""
    token = token_of_first_start(state_of(application).settings)
    head = [(b"authorization", f"Bearer {token}".encode()), (b"accept", b"text/event-stream")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/events",
        "raw_path": b"/api/events",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *head],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent: asyncio.Queue[Any] = asyncio.Queue()
    leaves = asyncio.Event()
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        if received == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await leaves.wait()
        return {"type": "http.disconnect"}

    running = asyncio.create_task(application(scope, receive, sent.put))
    assert (await sent.get())["status"] == 200
    assert b"event: ready" in (await sent.get())["body"]
    leaves.set()
    await running
    assert state_of(application).streams.ended == {Ending.CLIENT: 1}
