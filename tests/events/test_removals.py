"""Streams whose entries were removed."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx

from backend.main import create_app
from config.settings import Settings
from database.base import utc_now
from tests.events.sse import following
from tests.support.clients import token_of_first_start
from tests.support.clocks import SetClock
from tests.support.http import make_project, service_of
from tests.support.servers import RunningServer


async def last_id(client: httpx.AsyncClient) -> int:
    answer = await client.get("/api/audit?limit=1")
    return int(answer.json()["entries"][0]["id"])


async def prune(client: httpx.AsyncClient) -> None:
    """Remove what is too old."""
    # The first request may join the removal of the start, which has the time before.
    for _ in range(2):
        removed = await client.post("/api/retention/prune")
        assert removed.json()["status"] == "completed", removed.text


async def test_what_was_removed_resets_a_stream(installed: Settings) -> None:
    settings = installed.model_copy(update={"keep_audit_days": 30})
    with RunningServer(create_app(settings)) as server:
        async with server.async_client(token_of_first_start(settings)) as client:
            for _ in range(3):
                await make_project(client)
            service = service_of(server.app)
            clock = SetClock()
            clock.now = utc_now() + timedelta(days=40)
            service.clock = clock
            await make_project(client)
            await prune(client)
            events = (await client.get("/api/events")).json()["events"]
            first = events[0]["id"]
            assert first > 2
            async with following(client, headers={"Last-Event-ID": "1-2"}) as stream:
                reset = await stream.expect()
                assert (reset.event, reset.data) == ("reset", {"reason": "removed"})
                assert (await stream.ready()).id == f"1-{first - 1}"
                assert [await stream.entry() for _ in events] == events
            async with following(client, "/api/events?after=0") as stream:
                assert (await stream.ready()).id == f"1-{first - 1}"
                assert [await stream.entry() for _ in events] == events


async def test_an_open_stream_goes_on_while_old_events_are_removed(installed: Settings) -> None:
    settings = installed.model_copy(update={"keep_audit_days": 30})
    with RunningServer(create_app(settings)) as server:
        async with server.async_client(token_of_first_start(settings)) as client:
            await make_project(client)
            service = service_of(server.app)
            service.clock = clock = SetClock()
            clock.now = utc_now() + timedelta(days=40)
            async with following(client) as stream:
                begin = (await stream.ready()).data["last_id"]
                await prune(client)
                events = (await client.get("/api/events")).json()["events"]
                assert min(event["id"] for event in events) > begin
                await make_project(client)
                end = await last_id(client)
                assert await stream.until(end) == list(range(begin + 1, end + 1))
            for place in (begin, f"1-{begin}"):
                headers = {"Last-Event-ID": str(place)}
                async with following(client, headers=headers) as again:
                    await again.ready()
                    assert await again.until(end) == list(range(begin + 1, end + 1))


async def test_logs_that_were_removed_reset_a_stream_only_if_they_follow(
    server: RunningServer, installed: Settings
) -> None:
    async def ids() -> list[int]:
        logs = (await client.get("/api/logs?after_id=0&limit=500")).json()["logs"]
        return [log["id"] for log in logs]

    async def beginning(place: int) -> list[Any]:
        headers = {"Last-Event-ID": f"1-{place}"}
        async with following(client, "/api/logs?q=number", headers) as stream:
            message = await stream.expect()
            if message.event == "ready":
                return [message.id]
            assert message.event == "reset"
            return [message.data["reason"], (await stream.ready()).id]

    async def remove(gone: list[int]) -> None:
        async def remove_logs() -> None:
            async with service_of(server.app).transaction() as repositories:
                await repositories.logs.remove(gone)

        await asyncio.wrap_future(server.submit(remove_logs()))

    async with server.async_client(token_of_first_start(installed)) as client:
        logs = [{"level": "INFO", "message": f"number {n}"} for n in range(9)]
        await client.post("/api/logs", json={"logs": logs})
        *_, early, place, last = all_ids = await ids()
        # A client that knows the newest logs, which are removed, has missed nothing.
        await remove([last])
        for known in (last, place, early):
            assert await beginning(known) == [f"1-{known}"]
        await remove([id for id in all_ids if id < place])
        assert await beginning(place - 1) == [f"1-{place - 1}"]
        assert await beginning(place - 2) == ["removed", f"1-{place - 1}"]
        await remove([place])
        assert await beginning(last) == [f"1-{last}"]
        assert await beginning(place) == ["removed", f"1-{last}"]
        assert await beginning(0) == ["removed", f"1-{last}"]
        assert await beginning(last + 1000) == ["epoch", f"1-{last}"]


async def test_a_record_that_another_program_cuts_ends_its_streams(
    server: RunningServer, installed: Settings
) -> None:
    async with server.async_client(token_of_first_start(installed)) as client:
        async with following(client) as stream:
            await stream.ready()
            for _ in range(4):
                await make_project(client)
            place = await last_id(client)
            assert (await stream.until(place))[-1] == place
            path = installed.data_dir / "strongroom.db"
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("DELETE FROM audit_entries WHERE id > 2")
            await make_project(client)
            assert [message.data for message in await stream.ended()] == [None]
        async with following(client, headers={"Last-Event-ID": str(place)}) as again:
            assert (await again.expect()).event == "reset"
            await again.ready()
            await make_project(client)
            assert (await again.entry())["kind"] == "project.created"
