"""Units of work: complete or without effect, alone or in a batch."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from database.engine import Transaction
from database.errors import DatabaseError, UniqueViolation, UnitOfWorkError
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.transaction import InlineTransaction, unit_transaction
from tests.database.engine import (
    Gate,
    adding,
    adding_at,
    assert_at_rest,
    names,
    open_pool,
    outcomes,
)

request_id: ContextVar[str] = ContextVar("request_id", default="none")


async def test_a_unit_is_stored_and_its_result_comes_back(pool: AsyncConnectionPool) -> None:
    assert await pool.run_unit(adding(pool, "one")) == 1
    assert await names(pool) == ["one"]


async def test_units_that_wait_share_one_commit(pool: AsyncConnectionPool) -> None:
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    others = [asyncio.create_task(pool.run_unit(adding(pool, f"n{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *others)
    assert pool.writer.stats.commits == 1
    assert pool.writer.stats.largest_batch == 11
    assert len(await names(pool)) == 11


async def test_a_unit_that_raises_rolls_back_alone(pool: AsyncConnectionPool) -> None:
    async def failing() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('lost')")
            raise KeyError("mine")

    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "before")))
    await gate.reached()
    failed = asyncio.create_task(pool.run_unit(failing))
    last = asyncio.create_task(pool.run_unit(adding(pool, "after")))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, last)
    with pytest.raises(KeyError, match="mine"):
        await failed
    assert await names(pool) == ["after", "before"]
    assert pool.writer.stats.commits == 1


async def test_an_error_of_its_own_comes_back_as_it_is(pool: AsyncConnectionPool) -> None:
    async def failing() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await pool.run_unit(failing)


async def test_a_unit_that_fails_outside_its_block_is_undone_too(
    pool: AsyncConnectionPool,
) -> None:
    async def failing() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('lost')")
        raise KeyError("after the block")

    with pytest.raises(KeyError):
        await pool.run_unit(failing)
    assert await names(pool) == []


async def test_an_error_caught_outside_its_block_undoes_the_block_and_no_more(
    pool: AsyncConnectionPool,
) -> None:
    async def attempt(name: str, amount: int) -> bool:
        try:
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO items (name) VALUES (?)", (name,))
                await tx.execute("INSERT INTO items (name, amount) VALUES ('x', ?)", (amount,))
        except DatabaseError:
            return False
        return True

    async def work() -> list[bool]:
        # The first block of a unit and the later ones are undone by different savepoints.
        return [await attempt("a", -1), await attempt("b", -1), await attempt("c", 1)]

    assert await pool.run_unit(work) == [False, False, True]
    assert await names(pool) == ["c", "x"]


async def test_a_nested_block_is_undone_without_the_outer_one(pool: AsyncConnectionPool) -> None:
    async def two_in_a_block(*names: str) -> None:
        async with pool.transaction() as inner:
            for name in names:
                await inner.execute("INSERT INTO items (name) VALUES (?)", (name,))

    async def work() -> None:
        async with pool.transaction() as outer:
            await outer.execute("INSERT INTO items (name) VALUES ('outer')")
            with pytest.raises(UniqueViolation):
                await two_in_a_block("inner", "outer")
            await two_in_a_block("second")
            row = await outer.fetch_one("SELECT count(*) FROM items")
            assert row is not None
            assert row[0] == 2

    await pool.run_unit(work)
    assert await names(pool) == ["outer", "second"]


async def test_an_outer_block_that_raises_undoes_the_nested_ones(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        async with pool.transaction() as outer:
            await outer.execute("INSERT INTO items (name) VALUES ('outer')")
            async with pool.transaction() as inner:
                await inner.execute("INSERT INTO items (name) VALUES ('inner')")
            raise KeyError("outer")

    with pytest.raises(KeyError):
        await pool.run_unit(work)
    assert await names(pool) == []


async def test_many_rows_are_undone_together_when_the_unit_goes_on(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            with pytest.raises(UniqueViolation):
                await tx.execute_many(
                    "INSERT INTO items (name) VALUES (?)", [("a",), ("b",), ("a",)]
                )
            assert await tx.execute_many("INSERT INTO items (name) VALUES (?)", [("c",)]) == 1

    await pool.run_unit(work)
    assert await names(pool) == ["c"]


async def test_many_rows_in_a_statement_of_their_own_are_all_or_none(
    pool: AsyncConnectionPool,
) -> None:
    statement = "INSERT INTO items (name) VALUES (?)"
    with pytest.raises(UniqueViolation):
        await pool.execute_many(statement, [("a",), ("b",), ("a",)])
    assert await pool.execute_many(statement, [("c",), ("d",)]) == 2
    assert await names(pool) == ["c", "d"]


# Some take sixteen rows at a time; those with parameters elsewhere take one.
MANY: dict[str, tuple[str, Callable[[int, str], tuple[int | str, ...]]]] = {
    "insert": ("INSERT INTO items (name) VALUES (?)", lambda _, name: (name,)),
    "update": (
        "UPDATE items SET name = column2 FROM (VALUES (?, ?)) AS new WHERE items.id = column1",
        lambda id, name: (id, name),
    ),
    "each": ("UPDATE items SET name = ? WHERE id = ?", lambda id, name: (name, id)),
}


@pytest.mark.parametrize("way", MANY)
@pytest.mark.parametrize("number", [2, 3, 15, 16, 17, 32, 33, 40])
async def test_many_rows_are_all_changed_or_none(
    pool: AsyncConnectionPool, way: str, number: int
) -> None:
    statement, row = MANY[way]
    old = [f"old {id}" for id in range(1, number + 1)] if way != "insert" else []
    rows = [row(id, f"new {id}") for id in range(1, number + 1)]

    async def work() -> None:
        async with pool.transaction() as tx:
            for name in [*old, "taken"]:
                await tx.execute("INSERT INTO items (name) VALUES (?)", (name,))
            with pytest.raises(UniqueViolation):
                await tx.execute_many(statement, [*rows[:-1], row(number, "taken")])

    await pool.run_unit(work)
    assert sorted(await names(pool)) == sorted([*old, "taken"])
    assert await pool.execute_many(statement, rows) == number
    assert sorted(await names(pool)) == sorted([*(f"new {n + 1}" for n in range(number)), "taken"])


async def test_no_rows_are_no_change(pool: AsyncConnectionPool) -> None:
    assert await pool.execute_many("INSERT INTO items (name) VALUES (?)", []) == 0
    assert await pool.execute_many("UPDATE items SET name = ?", []) == 0
    assert await names(pool) == []


async def test_a_statement_that_is_answered_with_an_error_had_no_effect(
    pool: AsyncConnectionPool,
) -> None:
    # The row is stored before SQLite finds that the value of RETURNING is out of range.
    with pytest.raises(DatabaseError):
        await pool.execute_returning(
            "INSERT INTO items (name) VALUES ('a') RETURNING abs(-9223372036854775807 - id)"
        )
    assert await names(pool) == []


async def _sleep() -> None:
    await asyncio.sleep(0)


async def _sleep_longer() -> None:
    await asyncio.sleep(3600)


async def _future_of_the_loop() -> None:
    await pending_future[0]


async def _time_out() -> None:
    async with asyncio.timeout(1):  # noqa: ASYNC100 - it needs a loop by itself
        pass


async def _stubborn() -> None:
    try:
        await asyncio.sleep(0)
    except GeneratorExit:
        await asyncio.sleep(0)


pending_future: list["asyncio.Future[None]"] = []


@pytest.mark.parametrize(
    "awaiting", [_sleep, _sleep_longer, _future_of_the_loop, _time_out, _stubborn]
)
async def test_a_unit_that_awaits_anything_else_is_refused_and_nothing_is_kept(
    pool: AsyncConnectionPool, awaiting: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    pending_future[:] = [asyncio.get_running_loop().create_future()]

    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('lost')")
            await awaiting()

    with pytest.raises(UnitOfWorkError):
        await pool.run_unit(work)
    assert await pool.run_unit(adding(pool, "next")) == 1
    assert await names(pool) == ["next"]
    await assert_at_rest(pool)


async def test_a_unit_may_not_go_around_its_transaction(pool: AsyncConnectionPool) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('lost')")
            await pool.execute("INSERT INTO items (name) VALUES ('elsewhere')")

    with pytest.raises(UnitOfWorkError):
        await pool.run_unit(work)
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_a_unit_may_not_use_another_database(
    pool: AsyncConnectionPool, tmp_path: Path
) -> None:
    async with open_pool(tmp_path / "other.db") as other:

        async def work() -> None:
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO items (name) VALUES ('here')")
            async with other.transaction() as tx:
                await tx.execute("INSERT INTO items (name) VALUES ('there')")

        with pytest.raises(UnitOfWorkError, match="another database"):
            await pool.run_unit(work)
        assert await names(pool) == await names(other) == []
        with pytest.raises(UnitOfWorkError, match="another database"):
            await other.run_unit(adding(pool, "there"), read_only=True)


async def test_a_transaction_is_of_no_use_after_its_block(pool: AsyncConnectionPool) -> None:
    kept: list[Transaction] = []

    async def work() -> None:
        async with pool.transaction() as tx:
            kept.append(tx)
        with pytest.raises(UnitOfWorkError):
            await tx.execute("INSERT INTO items (name) VALUES ('late')")

    await pool.run_unit(work)
    # On the event loop, while the writer's thread runs another unit's transaction.
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    await gate.reached()
    with pytest.raises(UnitOfWorkError):
        await kept[0].execute("INSERT INTO items (name) VALUES ('later')")
    gate.open()
    await running
    assert await names(pool) == ["running"]


async def test_there_is_no_unit_transaction_outside_a_unit() -> None:
    with pytest.raises(UnitOfWorkError):
        async with unit_transaction():
            pass


async def test_what_is_not_an_exception_of_the_unit_comes_back_as_well(
    pool: AsyncConnectionPool,
) -> None:
    def no_next(raw: sqlite3.Connection) -> object:
        return next(raw.execute("SELECT 1 WHERE 0"))

    # Neither a future nor a coroutine can raise `StopIteration`.
    for attempt in (pool.run_read(no_next), pool.run_alone(no_next)):
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(attempt, 10)

    def not_even_a_coroutine() -> Any:
        return next(iter(()))

    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    broken = asyncio.create_task(pool.run_unit(not_even_a_coroutine))
    last = asyncio.create_task(pool.run_unit(adding(pool, "last")))
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.wait_for(outcomes((first, broken, last)), 10)
    assert isinstance(results[1], RuntimeError)
    assert await names(pool) == ["first", "last"]


async def test_the_writer_thread_sees_the_context_of_the_caller(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> str:
        seen = request_id.get()
        request_id.set("changed by the unit")
        return seen

    request_id.set("r-1")
    assert await pool.run_unit(work) == "r-1"
    assert await pool.run_unit(work, read_only=True) == "r-1"
    assert await pool.run_read(lambda _: request_id.get()) == "r-1"
    assert request_id.get() == "r-1"


async def test_each_failed_unit_gets_an_exception_of_its_own(pool: AsyncConnectionPool) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO parts (item_id) VALUES (4711)")

    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    others = [asyncio.create_task(pool.run_unit(work)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.open()
    failures = await outcomes((first, *others))
    assert all(isinstance(failure, DatabaseError) for failure in failures)
    # With one instance for several tasks, the traceback would grow with each raise.
    assert len({id(failure) for failure in failures}) == 4


def test_an_inline_transaction_refuses_to_autocommit() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    transaction = InlineTransaction(connection)
    with pytest.raises(DatabaseError):
        transaction.call(lambda raw, sql, _: raw.execute(sql), "CREATE TABLE t (x)", ())
    connection.close()
