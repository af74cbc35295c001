"""A batch that is run again with savepoints: its limits, its counters, and what is remembered."""

import asyncio
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import pytest

from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.savepoints import REMEMBERED_SECONDS, Savepoints
from tests.database.engine import (
    Changing,
    Clock,
    Failing,
    Gate,
    adding,
    adding_at,
    assert_at_rest,
    in_one_batch,
    names,
    open_pool,
    outcomes,
    until_waiting,
)

request_id: ContextVar[str] = ContextVar("request_id", default="none")


async def test_a_unit_that_fails_late_only_in_its_first_run_succeeds(
    pool: AsyncConnectionPool,
) -> None:
    results = await in_one_batch(pool, Failing(pool, runs=1), adding(pool, "after"))
    assert results == [1, 2, 3]
    assert await names(pool) == ["after", "first", "run 2"]


async def test_the_answer_is_that_of_the_second_run(pool: AsyncConnectionPool) -> None:
    changing = Changing(pool, "a", "b")
    results = await in_one_batch(pool, changing, Failing(pool))
    assert results[1] == "b"
    assert await names(pool) == ["b", "first"]


async def test_a_batch_is_run_again_once_at_most(pool: AsyncConnectionPool) -> None:
    """However many kinds of its units fail late: the rest of the batch has savepoints."""
    failing = [Failing(pool) for _ in range(5)]
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    tasks = [
        asyncio.create_task(pool.run_unit(unit, kind=number)) for number, unit in enumerate(failing)
    ]
    await until_waiting(pool, 5)
    gate.open()
    results = await outcomes((first, *tasks))
    assert [type(result) for result in results] == [int, *[KeyError] * 5]
    assert [unit.runs for unit in failing] == [2, 1, 1, 1, 1]
    assert pool.writer.stats.repeated_batches == 1
    # The next batch is optimistic again, for other kinds.
    last = Failing(pool)
    with pytest.raises(KeyError):
        await pool.run_unit(last, kind="another")
    assert last.runs == 2


async def test_a_kind_has_savepoints_for_a_minute(pool: AsyncConnectionPool) -> None:
    clock = Clock()
    pool.writer._batches.savepoints = Savepoints(clock)

    async def runs(kind: object) -> int:
        unit = Failing(pool)
        with pytest.raises(KeyError):
            await pool.run_unit(unit, kind=kind)
        return unit.runs

    assert [await runs("a"), await runs("a"), await runs("b"), await runs("b")] == [2, 1, 2, 1]
    clock.now += REMEMBERED_SECONDS - 0.001
    assert [await runs("a"), await runs("b")] == [1, 1]
    clock.now += 0.001
    assert [await runs("a"), await runs("a")] == [2, 1]


def test_the_remembered_kinds_are_limited() -> None:
    clock = Clock()
    savepoints = Savepoints(clock)
    for number in range(100_000):
        savepoints.failed_late(number)
        assert savepoints.needs_one(number)
    assert len(savepoints._until) <= 1000


async def test_what_units_have_in_common_is_who_made_them(pool: AsyncConnectionPool) -> None:
    async def one() -> None:
        await Failing(pool)()

    async def other() -> None:
        await Failing(pool)()

    for unit in (one, other, one, other):
        with pytest.raises(KeyError):
            await pool.run_unit(unit)
    assert pool.writer.stats.repeated_batches == 2


async def test_units_that_are_made_of_different_functions_by_partial_have_nothing_in_common(
    pool: AsyncConnectionPool,
) -> None:
    async def one(name: str) -> None:
        await Failing(pool, name=name)()

    async def other(name: str) -> None:
        await Failing(pool, name=name)()

    for function in (one, other, one, other):
        for unit in (partial(function, "a"), partial(partial(function), "b")):
            with pytest.raises(KeyError):
                await pool.run_unit(unit)
    assert pool.writer.stats.repeated_batches == 2


async def test_a_batch_keeps_its_limits(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", batch_units=3, batch_seconds=60) as pool:
        results = await in_one_batch(
            pool, Failing(pool), *(adding(pool, f"n{number}") for number in range(4))
        )
        assert [type(result) for result in results] == [int, KeyError, *[int] * 4]
        stats = pool.writer.stats
        assert (stats.largest_batch, stats.commits, stats.repeated_batches) == (3, 2, 1)
    async with open_pool(tmp_path / "slow.db", batch_seconds=0.0) as pool:
        results = await outcomes(
            pool.run_unit(work) for work in (Failing(pool), adding(pool, "a"), adding(pool, "b"))
        )
        assert [type(result) for result in results] == [KeyError, int, int]
        # The time of a batch was over with its first unit.
        assert (pool.writer.stats.largest_batch, pool.writer.stats.commits) == (1, 3)


async def test_the_event_loop_does_not_wait_for_the_second_run(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", pause_seconds=0.001, batch_seconds=60) as pool:
        gate = Gate()
        failing = Failing(pool)

        async def work() -> None:
            if failing.runs:
                gate.hold()
            await failing()

        unit = asyncio.create_task(pool.run_unit(work))
        # If the event loop waited for the batch, this would never return.
        await gate.reached()
        gate.open()
        with pytest.raises(KeyError):
            await unit
        assert failing.runs == 2


async def test_every_unit_counts_once(pool: AsyncConnectionPool) -> None:
    early = Failing(pool, runs=0, name="early")

    async def refused() -> None:
        raise KeyError("early")

    await in_one_batch(pool, early, refused, Failing(pool), adding(pool, "last"))
    assert early.runs == 2
    stats = pool.writer.stats
    assert (stats.units, stats.failed_units) == (3, 2)
    assert (stats.commits, stats.failed_commits, stats.repeated_batches) == (1, 0, 1)
    assert stats.largest_batch == 5
    await assert_at_rest(pool)


async def test_the_second_run_has_the_context_of_the_caller(pool: AsyncConnectionPool) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(request_id.get())
        request_id.set("changed by the unit")

    request_id.set("r-1")
    await in_one_batch(pool, work, Failing(pool))
    assert seen == ["r-1", "r-1"]


async def test_a_cancelled_caller_does_not_stop_its_unit_nor_the_batch(
    pool: AsyncConnectionPool,
) -> None:
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    waiting = asyncio.create_task(pool.run_unit(adding(pool, "waiting")))
    failing = Failing(pool)
    late = asyncio.create_task(pool.run_unit(failing))
    last = asyncio.create_task(pool.run_unit(adding(pool, "last")))
    await until_waiting(pool, 3)
    first.cancel()
    waiting.cancel()
    await outcomes((first, waiting))
    gate.open()
    with pytest.raises(KeyError):
        await late
    await last
    assert failing.runs == 2
    # The unit of `first` was running, that of `waiting` had not begun.
    assert await names(pool) == ["first", "last"]
    await assert_at_rest(pool)


async def test_an_urgent_unit_comes_first_after_the_second_run(pool: AsyncConnectionPool) -> None:
    gate = Gate()
    failing = Failing(pool)

    async def work() -> None:
        if failing.runs:
            gate.hold()
        await failing()

    late = asyncio.create_task(pool.run_unit(work))
    await gate.reached()
    waiting = asyncio.create_task(pool.run_unit(adding(pool, "waiting")))
    urgent = asyncio.create_task(pool.run_unit(adding(pool, "urgent"), urgent=True))
    await until_waiting(pool, 2)
    gate.open()
    assert [type(result) for result in await outcomes((late, waiting))] == [KeyError, int]
    assert (await urgent, await waiting) == (1, 2)
    assert pool.writer.stats.commits == 1


async def test_the_tables_of_both_runs_count_as_changed(pool: AsyncConnectionPool) -> None:
    items = pool.table_versions.counting([("items", "insert")])
    parts = pool.table_versions.counting([("parts", "insert")])
    rows = pool.table_versions.counting([("items", "update")])
    await in_one_batch(pool, Failing(pool))
    assert (items.version, parts.version, rows.version) == (2, 0, 0)
