"""Rows that units of a kind gather are stored together. One that is refused fails its own unit
alone."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from database.engine import Executor, Transaction
from database.errors import CheckViolation, DatabaseFull
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import (
    Gate,
    adding_at,
    assert_at_rest,
    names,
    no_room,
    outcomes,
    until_waiting,
)

Rows = list[tuple[str, int]]
Then = Callable[[Transaction], Coroutine[Any, Any, object]]


async def write(db: Executor, rows: Sequence[tuple[str, int]]) -> None:
    await db.execute_many("INSERT INTO items (name, amount) VALUES (?, ?)", rows)


async def write_elsewhere(db: Executor, rows: Sequence[str]) -> None:
    await db.execute_many("INSERT INTO parts (body) VALUES (?)", [(row,) for row in rows])


async def nothing_more(_: Transaction) -> None:
    """Let the rows wait for those of other units."""


async def read(tx: Transaction) -> None:
    await tx.fetch_one("SELECT count(*) FROM items")


async def gather_much(tx: Transaction) -> None:
    await tx.gather(write, [(f"row {row}", 0) for row in range(200)])


async def gather_others(tx: Transaction) -> None:
    await tx.gather(write_elsewhere, ["other"])


async def catch(tx: Transaction) -> None:
    with contextlib.suppress(BaseException):
        await read(tx)


async def replace(tx: Transaction) -> None:
    with contextlib.suppress(BaseException):
        await read(tx)
    raise KeyError("the other unit's rows are not there")


async def gathered(pool: AsyncConnectionPool, *units: tuple[Rows, Then]) -> list[object]:
    """The outcomes of units of one kind, in one batch with a unit that adds `first`."""

    async def unit(rows: Rows, then: Then) -> str:
        async def work() -> str:
            async with pool.transaction() as tx:
                await tx.gather(write, rows)
                await then(tx)
            return rows[0][0]

        return await pool.run_unit(work, kind="gathering")

    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    others = [asyncio.create_task(unit(*each)) for each in units]
    await until_waiting(pool, len(others))
    gate.open()
    _, *results = await outcomes((first, *others))
    return [result if isinstance(result, str) else type(result) for result in results]


GOOD, OTHER, BAD = [("good", 1)], [("other", 1)], [("bad", -1)]


@pytest.mark.parametrize("then", [nothing_more, read, gather_much, gather_others])
async def test_a_row_that_is_refused_fails_the_unit_that_gathered_it(
    pool: AsyncConnectionPool, then: Then
) -> None:
    results = await gathered(
        pool, (GOOD, nothing_more), (BAD, nothing_more), (OTHER, then), ([("last", 0)], read)
    )
    assert results == ["good", CheckViolation, "other", "last"]
    stored = set(await names(pool))
    assert {"first", "good", "other", "last"} <= stored
    assert "bad" not in stored
    assert pool.writer.stats.repeated_batches == 1
    assert (pool.writer.stats.units, pool.writer.stats.failed_units) == (4, 1)
    await assert_at_rest(pool)


@pytest.mark.parametrize("then", [catch, replace])
async def test_a_unit_does_not_take_the_failure_of_another_for_its_own(
    pool: AsyncConnectionPool, then: Then
) -> None:
    async def unless_well(tx: Transaction) -> None:
        if not ran:
            ran.append(1)
            await then(tx)

    ran: list[int] = []
    results = await gathered(pool, (BAD, nothing_more), (OTHER, unless_well))
    assert results == [CheckViolation, "other"]
    assert await names(pool) == ["first", "other"]


async def test_rows_that_do_not_fit_on_the_disk_fail_the_batch(pool: AsyncConnectionPool) -> None:
    async with no_room(pool):
        results = await gathered(
            pool, (GOOD, nothing_more), ([("x" * 1_000_000, 0)], nothing_more), (OTHER, read)
        )
    assert results == [DatabaseFull] * 3
    assert await names(pool) == []
    assert pool.writer.poisoned is None
    await assert_at_rest(pool)


async def test_a_unit_that_fails_takes_its_gathered_rows_along_and_no_others(
    pool: AsyncConnectionPool,
) -> None:
    async def fail(_: Transaction) -> None:
        raise KeyError

    results = await gathered(
        pool, (GOOD, nothing_more), (BAD, fail), (OTHER, nothing_more), ([("late", 0)], fail)
    )
    assert results == ["good", KeyError, "other", KeyError]
    assert await names(pool) == ["first", "good", "other"]
    assert pool.writer.stats.repeated_batches == 0
