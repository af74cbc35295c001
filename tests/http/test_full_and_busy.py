"""A full database, and a busy one: requests get the right error, and have no effect."""

import asyncio
import json
import sqlite3
import threading
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http import guarded_route
from backend.http.fair_queue import FairQueue
from config.settings import Settings
from tests.support.http import (
    all_rows,
    large_project,
    limit_pages,
    make_project,
    manager_of,
    new_project,
    problem,
    row_counts,
)


async def test_a_full_database_stores_nothing_and_recovers(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client, settings={"planning_statement": "before"})
    path = f"/api/projects/{project['id']}"
    before = all_rows(manager_of(application))
    await limit_pages(application, 1)
    large = "x" * 500_000
    problem(await client.post("/api/projects", json=large_project()), "database_full")
    problem(
        await client.put(f"{path}/configuration", json={"planning_statement": large}),
        "database_full",
    )
    secrets = [{"key": f"K{n}", "value": "x" * 60_000} for n in range(10)]
    problem(await client.put(f"{path}/secrets", json={"secrets": secrets}), "database_full")
    assert all_rows(manager_of(application)) == before
    assert (await client.get(f"{path}/full")).status_code == 200
    ready = await client.get("/ready")
    assert ready.status_code == 503
    checks = ready.json()["checks"]
    assert checks["writes"]["status"] == "full"
    assert "refused until there is space" in checks["writes"]["detail"]
    assert {check["status"] for name, check in checks.items() if name != "writes"} == {"ok"}
    await limit_pages(application, 2**30)
    response = await client.put(f"{path}/configuration", json={"planning_statement": large})
    assert response.json()["planning_statement"] == large
    assert (await client.get("/ready")).status_code == 200


async def test_many_at_once_on_a_full_database_are_all_or_nothing(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await make_project(client)
    await limit_pages(application, 1)
    small = [client.put("/api/projects/1", json={"name": f"n{n}"}) for n in range(10)]
    large = [client.post("/api/projects", json=large_project()) for _ in range(10)]
    answers = await asyncio.gather(*(x for pair in zip(small, large, strict=True) for x in pair))
    for response in answers[1::2]:
        problem(response, "database_full")
    for response in answers[0::2]:
        assert response.status_code in (200, 507)
    changed = sum(response.status_code == 200 for response in answers[0::2])
    assert (await client.get("/api/projects/1")).json()["version"] == 1 + changed
    assert row_counts(manager_of(application))["projects"] == 1


class TestBusy:
    """A database with more waiting work than it permits."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """At most twenty waiting requests, and a short timeout."""
        return settings.model_copy(
            update={
                "db_queue_limit": 20,
                "db_queue_timeout_seconds": 0.2,
                "db_readers": 1,
                "max_concurrent_requests": 40,
            }
        )

    async def test_a_write_that_finds_the_queue_full_or_waits_too_long_had_no_effect(
        self, client: httpx.AsyncClient, application: FastAPI
    ) -> None:
        # Background work waits in the same queues.
        await application.state.runtime.background.stop()
        manager = manager_of(application)
        await make_project(client)
        before = row_counts(manager)
        holding, release = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            holding.set()
            release.wait(30)

        holder = asyncio.create_task(manager.async_pool.run_alone(hold))
        await asyncio.to_thread(holding.wait, 30)
        answers = await asyncio.gather(
            *(client.post("/api/projects", json=new_project()) for _ in range(40))
        )
        release.set()
        await holder
        for response in answers:
            problem(response, "database_busy")
            assert int(response.headers["retry-after"]) >= 1
        queue = manager.async_pool.stats()["writer"]
        assert queue["refused"] > 0
        assert queue["expired"] > 0
        assert row_counts(manager) == before
        assert (await client.post("/api/projects", json=new_project())).status_code == 201

    async def test_a_read_that_waits_too_long_is_told_so(
        self, client: httpx.AsyncClient, application: FastAPI
    ) -> None:
        await application.state.runtime.background.stop()
        pool = manager_of(application).async_pool
        holding, release = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            holding.set()
            release.wait(30)

        holder = asyncio.create_task(pool.run_read(hold))
        await asyncio.to_thread(holding.wait, 30)
        response = await client.get("/api/projects")
        release.set()
        await holder
        problem(response, "database_busy")
        assert int(response.headers["retry-after"]) >= 1
        assert (await client.get("/api/projects")).status_code == 200


class TestTurns:
    """As many requests at a time as there are slots: here one read and one write."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """A short timeout."""
        return settings.model_copy(
            update={"max_concurrent_requests": 1, "db_queue_timeout_seconds": 0.1}
        )

    async def test_a_request_that_waits_too_long_for_its_turn_is_refused_without_effect(
        self, client: httpx.AsyncClient, application: FastAPI
    ) -> None:
        queue: FairQueue = application.state.queues["writing"]
        assert queue.take("another")
        assert (await client.get("/api/projects")).status_code == 200
        response = await client.post("/api/projects", json=new_project())
        problem(response, "database_busy")
        assert int(response.headers["retry-after"]) >= 1
        queue.give_back("another")
        assert row_counts(manager_of(application))["projects"] == 0
        assert "\nstrongroom_requests_refused_total 1.0\n" in (await client.get("/metrics")).text
        await make_project(client)

    async def test_meanwhile_the_service_tells_how_it_is(
        self, client: httpx.AsyncClient, application: FastAPI
    ) -> None:
        # A longer timeout, because the machine may be slow.
        queue = application.state.queues["reading"] = FairQueue(1, 30.0)
        assert queue.take("another")
        task = asyncio.create_task(client.get("/api/projects"))
        while not queue.waiting:
            await asyncio.sleep(0)
        for path in ("/health", "/ready"):
            assert (await client.get(path)).status_code == 200, path
        assert "\nstrongroom_requests_waiting 1.0\n" in (await client.get("/metrics")).text
        queue.give_back("another")
        assert (await task).status_code == 200

    async def test_a_request_that_fails_gives_its_slot_back(
        self, client: httpx.AsyncClient, application: FastAPI
    ) -> None:
        for _ in range(3):
            problem(await client.get("/api/projects/99"), "project_not_found")
            problem(await client.post("/api/projects", json={}), "validation_failed")
        assert {queue.free for queue in application.state.queues.values()} == {1}

    async def test_work_that_no_caller_waits_for_is_not_done(
        self, client: httpx.AsyncClient, application: FastAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guarded_route, "PATIENCE_SECONDS", 0)
        queue: FairQueue = application.state.queues["writing"]
        assert queue.take("another")
        body = json.dumps(new_project()).encode()
        messages: list[dict[str, object]] = [
            {"type": "http.request", "body": body, "more_body": False},
            {"type": "http.disconnect"},
        ]
        answered: list[object] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: object) -> None:
            answered.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/projects",
            "query_string": b"",
            "headers": [
                (b"authorization", client.headers["authorization"].encode()),
                (b"content-type", b"application/json"),
            ],
        }
        task = asyncio.create_task(application(scope, receive, send))
        while not queue.waiting:
            await asyncio.sleep(0)
        queue.give_back("another")
        await task
        assert answered == []
        assert row_counts(manager_of(application))["projects"] == 0
        assert queue.free == 1
