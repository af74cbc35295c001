"""A database without room, and one with too much to do: told as such, and without effect."""

import asyncio
import sqlite3
import threading

import httpx
import pytest
from fastapi import FastAPI

from config.settings import Settings
from tests.http.support import (
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
    """A database that has more to do than it may let wait."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Twenty may wait, and not for long."""
        return settings.model_copy(
            update={"db_queue_limit": 20, "db_queue_timeout_seconds": 0.2, "db_readers": 1}
        )

    async def test_a_write_that_finds_the_queue_full_or_waits_too_long_had_no_effect(
        self, client: httpx.AsyncClient, application: FastAPI
    ) -> None:
        # What the service does by itself waits in the same queues.
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
