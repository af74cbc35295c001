"""Units that are alike and wait at the same time run as one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from database.engine import Call, Transaction
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.together import MOST_TOGETHER
from tests.database.alike import Adding, at_once, caller, holding
from tests.database.engine import (
    LONG,
    Gate,
    Written,
    adding,
    names,
    open_pool,
    stored,
    until_waiting,
)


async def test_units_that_wait_at_the_same_time_run_as_one(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    answers = await at_once(pool, *(items.add(name) for name in "abc"))
    assert answers == [("together", "test")] * 3
    assert items.together == [["a", "b", "c"]]
    assert items.alone == []
    assert await names(pool) == ["a", "b", "c"]
    assert await stored(pool) == ["a", "b", "c"]
    stats = pool.writer.stats
    assert (stats.units, stats.failed_units, stats.largest_batch) == (4, 0, 4)


async def test_a_unit_that_waits_alone_runs_on_its_own(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    assert await at_once(pool, items.add("a")) == [("alone", "test")]
    assert items.together == []


async def test_only_neighbours_of_one_function_run_as_one(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    others = Adding(pool)
    await at_once(
        pool,
        *(items.add("a"), items.add("b"), pool.run_unit(adding(pool, "c")), items.add("d")),
        *(others.add("e"), others.add("f"), items.add("g"), items.add("h")),
    )
    assert items.together == [["a", "b"], ["g", "h"]]
    assert others.together == [["e", "f"]]
    assert items.alone == ["d"]
    assert await stored(pool) == list("abdefgh")
    assert await names(pool) == list("abcdefgh")


async def test_no_more_run_as_one_than_a_statement_takes(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    names = [f"{number:02}" for number in range(2 * MOST_TOGETHER + 1)]
    await at_once(pool, *(items.add(name) for name in names))
    assert items.together == [names[:MOST_TOGETHER], names[MOST_TOGETHER:-1]]
    assert items.alone == names[-1:]


@pytest.mark.parametrize("batch_units", [1, 2, 4])
async def test_a_batch_keeps_its_limit(tmp_path: Path, batch_units: int) -> None:
    async with open_pool(
        tmp_path / "engine.db", readers=1, batch_units=batch_units, batch_seconds=60
    ) as pool:
        pool.journal.write_entries = Written()
        items = Adding(pool)
        await at_once(pool, *(items.add(name) for name in "abcdefg"))
        # One more where a unit of another kind follows, which was taken already.
        assert pool.writer.stats.largest_batch <= batch_units + 1
        assert await names(pool) == list("abcdefg")


async def test_urgent_units_run_before(pool: AsyncConnectionPool, items: Adding) -> None:
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(holding(gate)))
    await gate.reached()
    waiting = [asyncio.create_task(items.add(name)) for name in "ab"]
    await until_waiting(pool, 2)
    urgent = asyncio.create_task(pool.run_unit(adding(pool, "urgent"), urgent=True))
    await until_waiting(pool, 3)
    gate.open()
    await asyncio.wait_for(asyncio.gather(first, urgent, *waiting), LONG)
    rows = await pool.fetch_all("SELECT name FROM items ORDER BY id")
    assert [row["name"] for row in rows] == ["urgent", "a", "b"]
    assert items.together == [["a", "b"]]


async def test_each_call_has_the_context_of_its_caller(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    async def add(name: str) -> object:
        caller.set(f"the one of {name}")
        return await items.add(name)

    assert await at_once(pool, *map(add, "abc")) == [
        ("together", f"the one of {name}") for name in "abc"
    ]
    items.leaves = {"e"}
    assert await at_once(pool, *map(add, "def")) == [
        ("together", "the one of d"),
        ("alone", "the one of e"),
        ("together", "the one of f"),
    ]


async def test_a_second_run_does_not_see_what_the_first_has_set(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    async def set_all(_: Transaction, calls: Sequence[Call]) -> None:
        for call in calls:
            call.context.run(caller.set, "of the first run")
        raise KeyError("late")

    items.step = set_all
    assert await at_once(pool, *map(items.add, "ab")) == [("alone", "test")] * 2


async def test_units_that_are_left_run_on_their_own_afterwards(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    items.leaves = {"a", "c"}
    answers = await at_once(pool, *map(items.add, "abcd"))
    assert [how for how, _ in answers] == ["alone", "together", "alone", "together"]
    assert await stored(pool) == ["b", "d", "a", "c"]
    assert pool.writer.stats.repeated_batches == 0


async def test_all_of_them_may_be_left(pool: AsyncConnectionPool, items: Adding) -> None:
    items.leaves = {"a", "b"}
    answers = await at_once(pool, *map(items.add, "ab"))
    assert [how for how, _ in answers] == ["alone", "alone"]
    assert await stored(pool) == ["a", "b"]
