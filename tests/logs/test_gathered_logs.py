"""Logs of consecutive requests are stored together, as if each were stored on its own."""

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backend.errors import ProjectNotFound
from backend.repositories import log_blocks
from backend.repositories.retention_repository import LOGS, Cutoff
from backend.schemas.logs import LogEntry
from database.engine import Row
from database.errors import DatabaseFull
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import Gate, until_waiting
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.log_index import index_agrees
from tests.support.logs import log

Work = Coroutine[Any, Any, Any]


@pytest.fixture
async def pool(api: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncConnectionPool:
    """The pool of the service, whose batches hold all that waits, however slow the machine is."""
    pool = api.service.db_manager.async_pool
    batches = pool.writer._batches
    monkeypatch.setattr(batches, "_config", replace(batches._config, batch_seconds=60.0))
    return pool


async def in_one_batch(pool: AsyncConnectionPool, *works: Work) -> list[Any]:
    """The results or errors of the calls, whose units run in one batch."""
    gate = Gate()

    async def hold() -> None:
        gate.hold()

    first = asyncio.create_task(pool.run_unit(hold))
    await gate.reached()
    commits = pool.writer.stats.commits
    tasks = []
    for work in works:
        tasks.append(asyncio.create_task(work))
        await until_waiting(pool, len(tasks))
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(DatabaseFull):
        await first
    assert pool.writer.stats.commits <= commits + 1
    return results


def logs_of(api: Api, *messages: str, **fields: Any) -> Work:
    """A call that stores logs with these messages."""
    return api.service.logs.append(
        [LogEntry.model_validate(log(message, **fields)) for message in messages]
    )


async def rows(api: Api) -> Sequence[Row]:
    """All stored logs, after a check that their index has exactly their words."""
    manager = api.service.db_manager
    assert await asyncio.to_thread(index_agrees, manager)
    return await manager.async_pool.fetch_all("SELECT * FROM system_logs ORDER BY id")


async def messages(api: Api) -> list[str]:
    """The messages of all stored logs, in the order of their ids."""
    return [row["message"] for row in await rows(api)]


async def test_logs_are_stored_in_the_order_of_their_requests(
    api: Api, pool: AsyncConnectionPool, clock: SetClock
) -> None:
    requests = [[f"{n}.{m}" for m in range(1 + n % 3)] for n in range(50)]
    results = await in_one_batch(pool, *(logs_of(api, *request) for request in requests))
    assert results == [len(request) for request in requests]
    stored = await rows(api)
    assert [row["message"] for row in stored] == [text for request in requests for text in request]
    assert {row["created_at"] for row in stored} == {clock.text()}
    assert [row["id"] for row in stored] == list(range(1, len(stored) + 1))


async def test_a_request_that_is_refused_stores_none_of_its_logs(
    api: Api, pool: AsyncConnectionPool
) -> None:
    results = await in_one_batch(
        pool,
        logs_of(api, "before"),
        logs_of(api, "lost", project_id=77),
        logs_of(api, "after", project_id=1),
    )
    assert [type(result) for result in results] == [int, ProjectNotFound, int]
    assert await messages(api) == ["before", "after"]


async def test_no_log_of_a_purged_project_stays(api: Api, pool: AsyncConnectionPool) -> None:
    second = await api.new_project("second")
    run = await api.new_run(second)
    results = await in_one_batch(
        pool,
        logs_of(api, "stays"),
        logs_of(api, "of the project", project_id=second),
        logs_of(api, "of the run", agent_run_id=run["id"]),
        api.service.projects.purge(second),
        logs_of(api, "too late", project_id=second),
        logs_of(api, "stays too", project_id=1),
    )
    assert [result for result in results if isinstance(result, BaseException)] == results[4:5]
    assert isinstance(results[4], ProjectNotFound)
    assert [item["message"] for item in (await api.get("/api/logs"))["logs"]] == [
        *("stays too", "stays"),
    ]
    assert await api.service.retention.remove_orphaned_logs(100) == 2
    assert await messages(api) == ["stays", "stays too"]


async def test_a_removal_sees_logs_that_came_before_it_in_its_batch(
    api: Api, pool: AsyncConnectionPool
) -> None:
    second = await api.new_project("second")
    results = await in_one_batch(
        pool,
        logs_of(api, "goes", "goes", project_id=second),
        api.service.projects.purge(second),
        logs_of(api, "stays"),
        api.service.retention.remove_orphaned_logs(100),
        logs_of(api, "stays too"),
    )
    assert results == [2, None, 1, 2, 1]
    assert await messages(api) == ["stays", "stays too"]


async def test_the_retention_removes_old_logs_that_came_before_it_in_its_batch(
    api: Api, pool: AsyncConnectionPool, clock: SetClock
) -> None:
    now = clock.text()
    cutoff = Cutoff(created_at=now, id=2, now=now, before_id=3)
    results = await in_one_batch(
        pool,
        *(logs_of(api, "1"), logs_of(api, "2"), logs_of(api, "3")),
        api.service.retention.remove_logs(LOGS, cutoff, 100),
        logs_of(api, "4"),
    )
    assert results == [1, 1, 1, 2, 1]
    assert await messages(api) == ["3", "4"]


async def test_the_services_own_logs_stand_between_those_of_clients(
    api: Api, pool: AsyncConnectionPool
) -> None:
    def own(message: str) -> Work:
        return api.service.logs.append_own([LogEntry.model_validate(log(message))])

    await in_one_batch(
        pool,
        *(logs_of(api, "1"), own("2"), own("3"), logs_of(api, "4"), logs_of(api, "5"), own("6")),
    )
    stored = await rows(api)
    assert [(row["message"], row["own"]) for row in stored] == [
        *(("1", 0), ("2", 1), ("3", 1), ("4", 0), ("5", 0), ("6", 1)),
    ]


async def test_times_rise_with_ids_and_blocks_have_the_times_of_their_logs(
    api: Api, pool: AsyncConnectionPool, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK", 5)
    chance = random.Random(3)  # noqa: S311
    number = 0
    begin = clock.now
    for minute in range(15):
        # The clock is also set back, by less than what is taken for another time.
        clock.now = begin + timedelta(minutes=minute, seconds=chance.choice([0, 200, -200]))
        requests = []
        for _ in range(chance.randint(1, 6)):
            size = chance.choice([1, 1, 3, 7, 130])
            requests.append(logs_of(api, *(f"{n}" for n in range(number, number + size))))
            number += size
        await in_one_batch(pool, *requests)
    stored = await rows(api)
    assert [row["message"] for row in stored] == list(map(str, range(number)))
    times = [row["created_at"] for row in stored]
    assert times == sorted(times)
    # The blocks that were complete when the last logs came.
    blocks = await pool.fetch_all("SELECT * FROM system_log_blocks ORDER BY block")
    assert [row["block"] for row in blocks] == list(range(len(blocks)))
    assert len(blocks) > 100
    for block in blocks:
        of_block = [row["created_at"] for row in stored if row["id"] // 5 == block["block"]]
        assert (block["first_at"], block["last_at"]) == (min(of_block), max(of_block))


async def test_no_log_is_acknowledged_that_a_full_disk_refused(
    api: Api, pool: AsyncConnectionPool
) -> None:
    def end_at(pages: int) -> Work:
        return pool.run_alone(
            lambda raw: raw.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0]
        )

    await in_one_batch(pool, logs_of(api, "before"))
    row = await pool.fetch_one("PRAGMA page_count")
    assert row is not None
    most = await end_at(row[0] + 30)
    # So many that some are written by a request that comes after theirs.
    texts = [[f"{n}.{m} " + "long " * 300 for m in range(5)] for n in range(60)]
    results = await in_one_batch(pool, *(logs_of(api, *request) for request in texts))
    await end_at(1_000_000)
    assert most == row[0] + 30
    stored = await messages(api)
    accepted = [
        text
        for request, result in zip(texts, results, strict=True)
        if not isinstance(result, Exception)
        for text in request
    ]
    assert stored == ["before", *accepted]
    assert any(isinstance(result, DatabaseFull) for result in results)
    await in_one_batch(pool, logs_of(api, "after"))
    assert (await messages(api))[-1] == "after"
