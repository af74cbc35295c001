"""Units that can't run as one run on their own, and each gets its own answer."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from database.engine import Call, Transaction
from database.errors import (
    CheckViolation,
    DatabaseClosed,
    DatabaseFull,
    TransactionLost,
    UniqueViolation,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.savepoints import REMEMBERED_SECONDS, Savepoints
from tests.database.alike import ADD, Adding, Step, at_once, holding
from tests.database.engine import (
    LONG,
    Clock,
    Gate,
    adding,
    names,
    no_room,
    outcomes,
    stored,
    until_waiting,
)


async def test_when_a_constraint_refuses_one_each_gets_its_own_answer(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    await pool.execute(ADD, ("first", 0))
    fits, taken, lacks, later = await at_once(
        pool, items.add("a"), items.add("first"), items.add("c", -1), items.add("d")
    )
    assert fits == later == ("alone", "test")
    assert isinstance(taken, UniqueViolation)
    assert isinstance(lacks, CheckViolation)
    assert items.together == [["a", "first", "c", "d"]]
    assert await names(pool) == ["a", "d", "first"]
    # Each entry once: those of the refused attempt are gone.
    assert await stored(pool) == ["a", "d"]
    stats = pool.writer.stats
    assert (stats.units, stats.failed_units, stats.repeated_batches) == (4, 2, 0)


async def test_what_fails_late_is_undone_and_runs_on_its_own_for_a_minute(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    clock = Clock()
    pool.writer._batches.savepoints = Savepoints(clock)

    async def fail(_: Transaction, __: Sequence[Call]) -> None:
        raise KeyError("late")

    items.step = fail
    assert await at_once(pool, *map(items.add, "ab")) == [("alone", "test")] * 2
    assert await stored(pool) == ["a", "b"]
    assert pool.writer.stats.repeated_batches == 1
    items.step = None
    clock.now += REMEMBERED_SECONDS - 1
    await at_once(pool, *map(items.add, "cd"))
    assert items.together == [["a", "b"]]
    clock.now += 1
    await at_once(pool, *map(items.add, "ef"))
    assert items.together == [["a", "b"], ["e", "f"]]
    assert pool.writer.stats.repeated_batches == 1


async def test_a_failure_that_is_caught_after_a_change_counts_as_late(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    async def fail() -> None:
        async with pool.transaction() as tx:
            await tx.execute(ADD, ("half", 0))
            raise KeyError("inside")

    async def go_on(_: Transaction, __: Sequence[Call]) -> None:
        with pytest.raises(KeyError):
            await fail()

    items.step = go_on
    assert await at_once(pool, *map(items.add, "ab")) == [("alone", "test")] * 2
    assert await names(pool) == ["a", "b"]
    assert await stored(pool) == ["a", "b"]


async def wait(_: Transaction, __: Sequence[Call]) -> None:
    await asyncio.sleep(0)


async def interrupt(_: Transaction, __: Sequence[Call]) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", [wait, interrupt])
async def test_a_fault_of_the_function_harms_no_unit(
    pool: AsyncConnectionPool, items: Adding, step: Step
) -> None:
    items.step = step
    assert await at_once(pool, *map(items.add, "ab")) == [("alone", "test")] * 2
    assert await names(pool) == ["a", "b"]
    assert await stored(pool) == ["a", "b"]


async def test_a_fault_before_any_change_is_logged(
    pool: AsyncConnectionPool, items: Adding, caplog: pytest.LogCaptureFixture
) -> None:
    items.leaves = {"a", "b"}
    items.step = wait
    with caplog.at_level(logging.ERROR, "strongroom.database"):
        assert await at_once(pool, *map(items.add, "ab")) == [("alone", "test")] * 2
    [record] = caplog.records
    assert record.getMessage() == "units that are alike could not run as one"


@pytest.mark.parametrize("count", [-1, 1])
async def test_a_wrong_number_of_outcomes_is_a_fault(
    pool: AsyncConnectionPool, items: Adding, count: int
) -> None:
    items.result = lambda found: found[:count] if count < 0 else [*found, None]
    assert await at_once(pool, *map(items.add, "ab")) == [("alone", "test")] * 2
    assert await stored(pool) == ["a", "b"]


async def test_a_lost_transaction_fails_the_batch(pool: AsyncConnectionPool, items: Adding) -> None:
    async def lose(tx: Transaction, _: Sequence[Call]) -> None:
        await tx.execute("ROLLBACK")

    items.step = lose
    answers = await at_once(pool, *map(items.add, "ab"))
    assert [type(answer) for answer in answers] == [TransactionLost] * 2
    assert await names(pool) == []
    items.step = None
    assert await at_once(pool, *map(items.add, "ab")) == [("together", "test")] * 2


async def test_a_unit_of_another_kind_behind_a_lost_transaction_is_answered(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    async def lose(tx: Transaction, _: Sequence[Call]) -> None:
        await tx.execute("ROLLBACK")

    items.step = lose
    answers = await at_once(
        pool, items.add("a"), items.add("b"), pool.run_unit(adding(pool, "c")), items.add("d")
    )
    # It was taken from the queue to see whether it is alike, so it fails with the others.
    assert [type(answer) for answer in answers[:3]] == [TransactionLost] * 3
    assert await names(pool) == ["d"]


async def test_on_a_full_disk_nothing_is_stored(pool: AsyncConnectionPool, items: Adding) -> None:
    async def fill(tx: Transaction, _: Sequence[Call]) -> None:
        await tx.execute("INSERT INTO parts (body) VALUES (hex(randomblob(100000)))")

    items.step = fill
    async with no_room(pool):
        answers = await at_once(pool, *map(items.add, "ab"))
        assert [type(answer) for answer in answers] == [DatabaseFull] * 2
    assert await names(pool) == []
    assert await stored(pool) == []


async def test_a_waiting_caller_that_is_cancelled_is_left_out(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(holding(gate)))
    await gate.reached()
    tasks = [asyncio.create_task(items.add(name)) for name in "abc"]
    await until_waiting(pool, 3)
    tasks[1].cancel()
    while len(pool.writer.queue) > 2:
        await asyncio.sleep(0)
    gate.open()
    await asyncio.wait_for(outcomes((first, *tasks)), LONG)
    assert items.together == [["a", "c"]]
    assert tasks[1].cancelled()
    assert await names(pool) == ["a", "c"]


async def test_a_running_caller_that_is_cancelled_harms_no_other(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    gate = Gate()

    async def hold(_: Transaction, __: Sequence[Call]) -> None:
        gate.hold()

    items.step = hold
    before = Gate()
    first = asyncio.create_task(pool.run_unit(holding(before)))
    await before.reached()
    tasks = [asyncio.create_task(items.add(name)) for name in "abc"]
    await until_waiting(pool, 3)
    before.open()
    await gate.reached()
    tasks[1].cancel()
    gate.open()
    answers = await asyncio.wait_for(outcomes((first, *tasks)), LONG)
    assert [answers[1], answers[3]] == [("together", "test")] * 2
    assert isinstance(answers[2], asyncio.CancelledError)
    # As with any unit that runs already.
    assert await names(pool) == ["a", "b", "c"]


async def test_waiting_units_are_refused_when_the_pool_closes(
    pool: AsyncConnectionPool, items: Adding
) -> None:
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(holding(gate)))
    await gate.reached()
    tasks = [asyncio.create_task(items.add(name)) for name in "ab"]
    await until_waiting(pool, 2)
    closing = asyncio.create_task(pool.close(grace=0))
    while pool.is_open:
        await asyncio.sleep(0)
    gate.open()
    answers = await asyncio.wait_for(outcomes((first, *tasks)), LONG)
    await closing
    assert [type(answer) for answer in answers[1:]] == [DatabaseClosed] * 2
    assert items.together == []
