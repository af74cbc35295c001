"""Reads that may be slow have readers of their own, so that no other request waits for them."""

import asyncio
import sqlite3
import threading

import httpx
import pytest
from fastapi import FastAPI

from backend.routes import POLICIES
from backend.services.audit import audit
from tests.support.http import make_project, manager_of
from tests.support.routes import calls

SLOW_NAMES = {"diff", "export", "scan", "search"}


def test_every_route_that_searches_exports_or_compares_is_slow(application: FastAPI) -> None:
    found = set()
    for call in calls(application):
        policy = POLICIES[call.method, call.template]
        parameters = call.query
        assert policy.is_slow is bool(SLOW_NAMES & set(call.template.split("/"))), str(call)
        assert ("q" in parameters) is ("q" in policy.slow_with), str(call)
        assert set(policy.slow_with) <= parameters, str(call)
        if policy.is_slow or policy.slow_with:
            found.add(str(call))
    assert found >= {"GET /api/projects", "GET /api/logs", "GET /api/audit/export"}


async def slow_queries(client: httpx.AsyncClient, application: FastAPI, path: str) -> int:
    """The number of queries that a request has the readers for slow ones answer."""
    pool = manager_of(application).async_pool
    before = pool.stats()["slow_readers"]["queries"]
    assert (await client.get(path)).status_code == 200
    return int(pool.stats()["slow_readers"]["queries"] - before)


@pytest.mark.parametrize(
    ("path", "slow"),
    [
        ("/api/projects", False),
        ("/api/projects?q=", False),
        ("/api/projects?limit=100", False),
        ("/api/projects/1", False),
        ("/api/projects?q=a", True),
        ("/api/projects?limit=101", True),
        ("/api/logs?q=a", True),
        ("/api/logs?limit=500", True),
        ("/api/logs?level=ERROR", False),
        ("/api/agent-runs?limit=500", True),
        ("/api/audit?limit=500", True),
        ("/api/audit/export", True),
    ],
)
async def test_only_what_may_be_slow_is_read_by_their_readers(
    client: httpx.AsyncClient, application: FastAPI, path: str, *, slow: bool
) -> None:
    await make_project(client)
    assert (await slow_queries(client, application, path) > 0) is slow
    # What follows is read by the others again.
    assert await slow_queries(client, application, "/api/audit?limit=2") == 0


async def test_each_page_of_an_export_is_read_by_them(
    client: httpx.AsyncClient, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_EXPORT_ROWS", 2)
    for _ in range(3):
        await make_project(client, settings={"branch_name": "x"})
    lines = (await client.get("/api/audit/export")).text.splitlines()
    assert len(lines) > 6
    # The last read finds that nothing follows.
    pages = -(-len(lines) // 2) + 1
    assert await slow_queries(client, application, "/api/audit/export") == pages


async def test_a_limit_that_is_wrong_is_refused_as_before(client: httpx.AsyncClient) -> None:
    for limit in ("501", "99999", "1e3", "-1", "\u0663\u0663\u0663", "x"):
        response = await client.get("/api/projects", params={"limit": limit})
        assert response.status_code == 422, limit


async def test_look_ups_are_answered_while_six_slow_reads_go_on(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    pool = manager_of(application).async_pool
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()

    def read(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(30)

    slow = [asyncio.ensure_future(pool.slow_readers.run(read)) for _ in range(6)]
    await begun.wait()
    searches = [
        asyncio.ensure_future(client.get("/api/projects", params={"q": "pro", "limit": limit}))
        for limit in (1, 2, 500)
    ]
    try:
        for number in range(20):
            assert (await client.get(path)).json()["id"] == project["id"]
            # Each answer is new, because something has changed since the last one.
            await client.patch(path, json={"auto_merge_enabled": number % 2 == 0})
            assert len((await client.get("/api/projects")).json()["projects"]) == 1
        assert not any(task.done() for task in (*slow, *searches))
    finally:
        go_on.set()
    await asyncio.gather(*slow)
    for answer in await asyncio.gather(*searches):
        assert [found["id"] for found in answer.json()["projects"]] == [project["id"]]
