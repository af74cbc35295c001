"""The full-text index agrees with the table, whatever happens to either."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from backend.repositories.system_log_repository import NewLog, SystemLogRepository
from backend.services.base import UnitsOfWork, unit_of_work
from database.connection_manager import DatabaseManager
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.log_index import index_agrees
from tests.support.logs import log, messages, send

ROW: NewLog = ("INFO", 20, "words of a row", "part", "{}", "c-1", None, None, None)


class Failing(UnitsOfWork):
    """Units of work that fail after a write."""

    @unit_of_work
    async def append_and_fail(self, rows: int) -> None:
        async with self.transaction() as repositories:
            await repositories.logs.append([ROW] * rows)
            raise LookupError("after the write")

    @unit_of_work
    async def remove_and_fail(self, last_id: int) -> None:
        async with self.transaction() as repositories:
            await repositories.logs.remove(range(1, last_id + 1))
            raise LookupError("after the removal")

    @unit_of_work
    async def append_twice_and_keep_one(self) -> None:
        async with self.transaction() as repositories:
            await repositories.logs.append([ROW])
        try:
            async with self.transaction() as repositories:
                await repositories.logs.append([ROW, ROW])
                raise LookupError("only this block")
        except LookupError:
            pass
        async with self.transaction() as repositories:
            await repositories.logs.append([ROW] * 3)


async def agrees(manager: DatabaseManager) -> bool:
    """Whether the index agrees with the table."""
    return await asyncio.to_thread(index_agrees, manager)


@pytest.fixture
async def api(api: Api) -> AsyncIterator[Api]:
    """The API, whose index is checked again after the test."""
    yield api
    assert await agrees(api.service.db_manager)


def failing(api: Api) -> Failing:
    """The same database with units of work that fail."""
    return Failing(api.service.db_manager)


async def test_the_check_sees_a_row_that_is_not_indexed_and_one_too_much(api: Api) -> None:
    pool = api.service.db_manager.async_pool
    await send(api, log("indexed"))
    assert await agrees(api.service.db_manager)
    await pool.execute("UPDATE system_logs SET message = 'changed'")
    assert not await agrees(api.service.db_manager)
    await pool.execute("UPDATE system_logs SET message = 'indexed'")
    await pool.execute(
        "INSERT INTO system_logs (level, level_no, message, created_at)"
        " VALUES ('INFO', 20, 'lost', '2026-01-31T12:00:00.000000Z')"
    )
    assert not await agrees(api.service.db_manager)
    await pool.execute("DELETE FROM system_logs WHERE message = 'lost'")
    assert await agrees(api.service.db_manager)


@pytest.mark.parametrize("rows", [1, 200])
async def test_what_is_rolled_back_is_not_indexed(api: Api, rows: int) -> None:
    await send(api, log("stays"))
    with pytest.raises(LookupError):
        await failing(api).append_and_fail(rows)
    assert await messages(api, q="words") == []
    assert await agrees(api.service.db_manager)
    # Its ids are given out again: no log has had them.
    await send(api, log("other text"))
    assert await messages(api, q="words") == []
    assert await messages(api, q="other") == ["other text"]


async def test_what_is_rolled_back_is_not_removed(api: Api) -> None:
    await send(api, *(log(f"number {number}") for number in range(10)))
    with pytest.raises(LookupError):
        await failing(api).remove_and_fail(5)
    assert len(await messages(api, q="number")) == 10


async def test_a_block_that_is_undone_alone_leaves_nothing(api: Api) -> None:
    await failing(api).append_twice_and_keep_one()
    assert len(await messages(api, q="words")) == 4
    assert await agrees(api.service.db_manager)


async def test_a_refused_batch_leaves_nothing(api: Api) -> None:
    await api.post("/api/logs", {"logs": [log("good"), log("bad", project_id=77)]}, 404)
    assert await messages(api, q="good") == []


async def test_a_removed_log_is_not_found_and_the_others_are(api: Api) -> None:
    await send(api, *(log(f"number {number}", component="c") for number in range(10)))
    async with api.service.transaction() as repositories:
        assert await repositories.logs.remove([1, 2, 3, 4]) == 4
        assert await repositories.logs.remove([]) == 0
        assert await repositories.logs.remove([8, 6]) == 2
    expected = [f"number {number}" for number in (9, 8, 6, 4)]
    assert await messages(api, q="number") == expected
    assert await messages(api, component="c") == expected


async def test_an_id_is_not_used_again_after_all_logs_are_gone(api: Api) -> None:
    await send(api, log("old"), log("old"))
    async with api.service.transaction() as repositories:
        assert await repositories.logs.remove([1, 2]) == 2
    await send(api, log("new"))
    assert [item["id"] for item in (await api.get("/api/logs"))["logs"]] == [3]
    assert await messages(api, q="old") == []
    assert await messages(api, q="new") == ["new"]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_purged_projects_logs_are_hidden_at_once_and_removed_in_batches(
    api: Api, limit: int
) -> None:
    second = await api.new_project("second")
    run = await api.new_run(second)
    await send(
        api,
        *(log(f"gone {n}", "ERROR", project_id=second, component="c") for n in range(4)),
        *(log(f"gone {n}", "ERROR", agent_run_id=run["id"], component="c") for n in range(3)),
        *(log(f"stays {n}", "ERROR", project_id=1, component="c") for n in range(2)),
        log("stays, of no project", "ERROR", component="c"),
    )
    await api.call("DELETE", f"/api/projects/{second}?purge=true", status=204)
    stays = ["stays, of no project", "stays 1", "stays 0"]
    assert await messages(api) == stays
    assert await messages(api, level="ERROR") == stays
    assert await messages(api, component="c") == stays
    assert await messages(api, q="gone") == []
    assert await messages(api, agent_run_id=run["id"]) == []
    removed = []
    while True:
        async with api.service.transaction() as repositories:
            removal = await repositories.logs.next_removal()
            if removal is None:
                break
            removed.append(await repositories.logs.remove_of(removal, limit))
        assert await agrees(api.service.db_manager)
    assert sum(removed) == 7
    assert max(removed) <= limit
    assert await messages(api) == stays
    row = await api.service.db_manager.async_pool.fetch_one("SELECT count(*) FROM system_logs")
    assert row is not None
    assert row[0] == 3


async def test_a_run_that_is_removed_takes_its_logs_and_no_others(api: Api) -> None:
    run, other = await api.new_run(), await api.new_run()
    await send(
        api,
        log("gone", agent_run_id=run["id"]),
        log("of the project", project_id=1),
        log("of another run", agent_run_id=other["id"]),
    )
    async with api.service.transaction() as repositories:
        assert await repositories.runs.delete(run["id"])
    assert await messages(api) == ["of another run", "of the project"]
    async with api.service.transaction() as repositories:
        removal = await repositories.logs.next_removal()
        assert removal is not None
        assert await repositories.logs.remove_of(removal, 100) == 1
        assert await repositories.logs.next_removal() is None
    assert await messages(api) == ["of another run", "of the project"]


async def test_tidying_the_index_changes_nothing(api: Api, clock: SetClock) -> None:
    for number in range(30):
        await send(api, *(log(f"word{number % 7} text") for _ in range(20)))
        clock.advance(1)
    async with api.service.transaction() as repositories:
        await repositories.logs.remove(range(1, 301))
    before = await messages(api, q="word3", limit=500)
    repository = SystemLogRepository(api.service.db_manager)
    rounds = 0
    more = True
    while more:
        async with api.service.db_manager.async_transaction() as tx:
            more = await repository.using(tx).tidy_index(begin=rounds == 0)
        rounds += 1
        assert rounds < 100
    assert await agrees(api.service.db_manager)
    assert await messages(api, q="word3", limit=500) == before
