"""Rows that units gather are stored together, and nothing can see that they were stored late."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from database.engine import Transaction
from database.errors import DatabaseReadOnly, UnitOfWorkError
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import (
    Gate,
    adding,
    adding_at,
    assert_at_rest,
    in_one_batch,
    open_pool,
    outcomes,
    until_waiting,
)
from tests.database.gathered import ADD, Gathering, GatheringToo, Reading, Store, fail, seen, texts


async def test_the_rows_of_consecutive_units_are_stored_together_in_the_order_of_the_units(
    pool: AsyncConnectionPool,
) -> None:
    store = Store()
    units = [Gathering(pool, store, f"a {n}", f"b {n}") for n in range(20)]
    await in_one_batch(pool, *units)
    expected = [row for unit in units for row in unit.rows]
    assert store.writes == [expected]
    assert await seen(pool) == ["first", *expected]
    assert [unit.runs for unit in units] == [1] * 20
    assert pool.writer.stats.repeated_batches == 0
    await assert_at_rest(pool)


async def test_the_order_of_ids_is_that_of_units_that_store_in_different_ways(
    pool: AsyncConnectionPool,
) -> None:
    store, other = Store(), Store()
    await in_one_batch(
        pool,
        Gathering(pool, store, "1"),
        Gathering(pool, other, "2"),
        Gathering(pool, store, "3", step=lambda tx: tx.execute(ADD, ("4",))),
        Gathering(pool, store, "5", step=lambda tx: tx.gather(other, ["6"])),
        GatheringToo(pool, other, "7", step=lambda tx: tx.gather(other, ["8"])),
        adding(pool, "9"),
        GatheringToo(pool, store, "10"),
        Gathering(pool, store, "11"),
        Gathering(pool, store),
    )
    assert await seen(pool) == ["first", *map(str, range(1, 12))]
    assert store.writes == [["1"], ["3"], ["5"], ["10"], ["11"]]
    assert other.writes == [["2"], ["6"], ["7", "8"]]


async def _fetch_all(_: AsyncConnectionPool, tx: Transaction) -> object:
    return await seen(tx)


async def _fetch_one(_: AsyncConnectionPool, tx: Transaction) -> object:
    row = await tx.fetch_one(CONCATENATED)
    return row[0].split(",") if row is not None else None


async def _fetch_within(_: AsyncConnectionPool, tx: Transaction) -> object:
    row = await tx.fetch_within(CONCATENATED, (), 1000)
    return row[0].split(",") if row is not None else None


async def _fetch_while(_: AsyncConnectionPool, tx: Transaction) -> object:
    rows: list[Any] = []

    def takes(row: Any) -> bool:
        rows.append(row)
        return True

    await tx.fetch_while("SELECT name FROM items ORDER BY id", (), takes)
    return texts(rows)


async def _execute_returning(_: AsyncConnectionPool, tx: Transaction) -> object:
    return texts(await tx.execute_returning("UPDATE items SET amount = 1 RETURNING name"))


async def _execute(_: AsyncConnectionPool, tx: Transaction) -> object:
    assert await tx.execute("UPDATE items SET amount = 1") == 3
    return await seen(tx)


async def _execute_many(_: AsyncConnectionPool, tx: Transaction) -> object:
    assert await tx.execute_many("UPDATE items SET amount = ?", [(1,), (2,)]) == 6
    return await seen(tx)


async def _insert(_: AsyncConnectionPool, tx: Transaction) -> object:
    assert list(await tx.insert(ADD, ("new",), 1)) == [4]
    await tx.execute("DELETE FROM items WHERE id = 4")
    return await seen(tx)


async def _json_page(_: AsyncConnectionPool, tx: Transaction) -> object:
    rows, _after = await tx.dialect.fetch_json_page(
        tx,
        "SELECT name, id FROM items ORDER BY id LIMIT 11",
        (),
        members={"name": "plain"},
        keys=("id",),
        large=(),
        limit=10,
        most_bytes=1000,
    )
    return [row.decode().split('"')[3] for row in rows]


async def _nested_block(pool: AsyncConnectionPool, _: Transaction) -> object:
    async with pool.transaction() as inner:
        return await seen(inner)


async def _nested_unit(pool: AsyncConnectionPool, _: Transaction) -> object:
    return await Reading(pool)()


CONCATENATED = "SELECT group_concat(name) FROM (SELECT name FROM items ORDER BY id)"
READS = {
    read.__name__: read
    for read in (
        *(_fetch_all, _fetch_one, _fetch_within, _fetch_while, _execute_returning, _execute),
        *(_execute_many, _insert, _json_page, _nested_block, _nested_unit),
    )
}


@pytest.mark.parametrize("how", READS)
async def test_a_unit_sees_what_it_and_others_have_gathered(
    pool: AsyncConnectionPool, how: str
) -> None:
    store = Store()
    reading = Gathering(pool, store, "own", step=lambda tx: READS[how](pool, tx))
    results = await in_one_batch(pool, Gathering(pool, store, "others'"), reading)
    assert results[2] == ["first", "others'", "own"]
    assert store.writes == [["others'", "own"]]
    assert reading.runs == 1


@pytest.mark.parametrize("how", READS)
async def test_a_unit_sees_in_a_later_block_what_it_has_gathered(
    pool: AsyncConnectionPool, how: str
) -> None:
    store = Store()

    async def work() -> object:
        async with pool.transaction() as tx:
            await tx.gather(store, ["one"])
            async with pool.transaction() as inner:
                await inner.gather(store, ["two", "three"])
        async with pool.transaction() as tx:
            return await READS[how](pool, tx)

    assert await pool.run_unit(work) == ["one", "two", "three"]
    assert store.writes == [["one", "two", "three"]]


async def test_a_unit_or_statement_of_another_kind_sees_what_was_gathered_before(
    pool: AsyncConnectionPool,
) -> None:
    store = Store()
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    tasks = [
        asyncio.create_task(work)
        for work in (
            pool.run_unit(Gathering(pool, store, "1")),
            pool.run_unit(Reading(pool)),
            pool.run_unit(Gathering(pool, store, "2")),
            pool.execute("UPDATE items SET amount = 1"),
            pool.run_unit(Gathering(pool, store, "3")),
            pool.execute_returning("DELETE FROM items RETURNING name"),
            pool.run_unit(Gathering(pool, store, "4")),
            pool.execute_many("UPDATE items SET amount = ?", [(1,)]),
        )
    ]
    await until_waiting(pool, len(tasks))
    gate.open()
    results = await outcomes((first, *tasks))
    assert results[2] == ["first", "1"]
    assert results[4] == 3
    assert texts(results[6]) == ["first", "1", "2", "3"]  # type: ignore[arg-type]
    assert results[8] == 1
    assert pool.writer.stats.commits == 1


async def test_rows_belong_to_the_kind_that_gathered_last(pool: AsyncConnectionPool) -> None:
    """A kind that gathered earlier in the batch sees them, and the last kind's are together."""
    store = Store()

    def of_one_kind(*rows: str) -> Any:
        async def work() -> list[str]:
            async with pool.transaction() as tx:
                found = await seen(tx) if not rows else []
                await tx.gather(store, rows)
                return found

        return work

    results = await in_one_batch(
        pool,
        of_one_kind("1"),
        Gathering(pool, store, "2"),
        Gathering(pool, store, "3"),
        of_one_kind(),
    )
    assert results[4] == ["first", "1", "2", "3"]
    assert store.writes == [["1"], ["2", "3"]]


async def test_an_urgent_unit_sees_what_was_gathered_before(pool: AsyncConnectionPool) -> None:
    store, gate = Store(), Gate()

    async def hold(_: Transaction) -> None:
        gate.hold()

    first = asyncio.create_task(pool.run_unit(Gathering(pool, store, "1", step=hold)))
    await gate.reached()
    after = asyncio.create_task(pool.run_unit(Gathering(pool, store, "2")))
    urgent = asyncio.create_task(pool.run_unit(Reading(pool), urgent=True))
    own = asyncio.create_task(pool.run_unit(Gathering(pool, store, "urgent"), urgent=True))
    await until_waiting(pool, 3)
    gate.open()
    results = await outcomes((first, after, urgent, own))
    assert results[2] == ["1"]
    assert await seen(pool) == ["1", "urgent", "2"]


async def test_many_rows_are_written_within_the_time_of_their_units(
    pool: AsyncConnectionPool,
) -> None:
    """The batch looks at the clock after each unit, and few rows wait for its end."""
    store = Store()
    units = [
        Gathering(pool, store, *(f"{unit}.{row}" for row in range(1000))) for unit in range(255)
    ]
    await in_one_batch(pool, *units)
    assert [len(rows) for rows in store.writes] == [1000] * 255
    await pool.execute("DELETE FROM items")
    store.writes.clear()
    few = [Gathering(pool, store, *(f"{n}.{row}" for row in range(50))) for n in range(7)]
    await in_one_batch(pool, *few)
    assert [len(rows) for rows in store.writes] == [150, 150, 50]
    assert await seen(pool) == ["first", *(row for unit in few for row in unit.rows)]


async def test_a_batch_ends_in_time_with_rows_that_wait(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", batch_seconds=0.0) as pool:
        store = Store()
        await outcomes(pool.run_unit(Gathering(pool, store, name)) for name in "abc")
        assert store.writes == [["a"], ["b"], ["c"]]
        assert (pool.writer.stats.largest_batch, pool.writer.stats.commits) == (1, 3)


async def test_outside_of_a_unit_rows_are_stored_at_once(pool: AsyncConnectionPool) -> None:
    store = Store()
    await pool.gather(store, ["in a unit of their own"])
    assert await seen(pool) == ["in a unit of their own"]
    async with pool.transaction() as tx:
        await tx.gather(store, ["interactive"])
        assert await seen(tx) == ["in a unit of their own", "interactive"]
    with pytest.raises(KeyError):
        await Gathering(pool, store, "lost", step=fail)()
    with pytest.raises(UnitOfWorkError):
        await tx.gather(store, ["after the block"])
    with pytest.raises(DatabaseReadOnly):
        await pool.run_unit(Gathering(pool, store, "by a reader"), read_only=True)
    assert await seen(pool) == ["in a unit of their own", "interactive"]
    await assert_at_rest(pool)


async def test_after_its_block_a_transaction_gathers_nothing(pool: AsyncConnectionPool) -> None:
    store = Store()

    async def work() -> None:
        async with pool.transaction() as tx:
            pass
        with pytest.raises(UnitOfWorkError):
            await tx.gather(store, ["lost"])

    await pool.run_unit(work)
    assert await seen(pool) == []


async def test_the_rows_of_a_cancelled_caller_are_stored_if_its_unit_has_begun(
    pool: AsyncConnectionPool,
) -> None:
    store, gate = Store(), Gate()

    async def hold(_: Transaction) -> None:
        gate.hold()

    running = asyncio.create_task(pool.run_unit(Gathering(pool, store, "kept", step=hold)))
    await gate.reached()
    waiting = asyncio.create_task(pool.run_unit(Gathering(pool, store, "lost")))
    last = asyncio.create_task(pool.run_unit(Gathering(pool, store, "last")))
    await until_waiting(pool, 2)
    running.cancel()
    waiting.cancel()
    await outcomes((running, waiting))
    gate.open()
    await last
    assert await seen(pool) == ["kept", "last"]
