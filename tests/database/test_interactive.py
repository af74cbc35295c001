"""The interactive transaction: one hop per statement, with exclusive use of the writer."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from database.engine import Transaction
from database.errors import (
    DatabaseBusy,
    DatabaseClosed,
    UniqueViolation,
    UnitOfWorkError,
)
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import (
    LONG,
    Gate,
    adding,
    adding_at,
    assert_at_rest,
    names,
    open_pool,
    outcomes,
    stored_names,
    until_waiting,
)

INSERT = "INSERT INTO items (name) VALUES (?)"


@contextlib.asynccontextmanager
async def gate_at(pool: AsyncConnectionPool, statement: str) -> AsyncIterator[Gate]:
    """A gate before the writer's next `statement`."""
    gate = Gate()

    def stop(sql: str) -> None:
        if sql == statement:
            gate.hold()

    await pool.run_alone(lambda raw: raw.set_trace_callback(stop))
    yield gate
    await pool.run_alone(lambda raw: raw.set_trace_callback(None))


async def test_its_statements_see_each_other_and_are_committed_at_the_end(
    pool: AsyncConnectionPool,
) -> None:
    async with pool.transaction() as tx:
        assert await tx.execute(INSERT, ("a",)) == 1
        assert await tx.execute_many(INSERT, [("b",), ("c",)]) == 2
        rows = await tx.execute_returning(f"{INSERT} RETURNING id", ("d",))
        assert rows[0]["id"] == 4
        row = await tx.fetch_one("SELECT name FROM items WHERE id = ?", (2,))
        assert row is not None
        assert row["name"] == "b"
        assert await tx.fetch_one("SELECT name FROM items WHERE id = 99") is None
        assert len(await tx.fetch_all("SELECT * FROM items")) == 4
        # Other connections don't see the row before the end.
        assert await names(pool) == []
    assert await names(pool) == ["a", "b", "c", "d"]
    assert pool.writer.stats.units == 1
    await assert_at_rest(pool)


async def test_it_is_rolled_back_when_the_body_raises(pool: AsyncConnectionPool) -> None:
    async def failing() -> None:
        async with pool.transaction() as tx:
            await tx.execute(INSERT, ("lost",))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await failing()
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_the_body_may_catch_the_error_of_a_statement_and_go_on(
    pool: AsyncConnectionPool,
) -> None:
    async with pool.transaction() as tx:
        await tx.execute(INSERT, ("a",))
        with pytest.raises(UniqueViolation):
            await tx.execute_many(INSERT, [("b",), ("a",)])
        await tx.execute(INSERT, ("c",))
    assert await names(pool) == ["a", "c"]


async def test_units_wait_for_it_and_it_waits_for_the_running_batch(
    pool: AsyncConnectionPool,
) -> None:
    order: list[str] = []
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    running.add_done_callback(lambda _: order.append("running"))
    await gate.reached()

    async def interactive() -> None:
        async with pool.transaction() as tx:
            order.append("interactive begins")
            await tx.execute(INSERT, ("interactive",))
            unit = asyncio.create_task(pool.run_unit(adding(pool, "unit")))
            unit.add_done_callback(lambda _: order.append("unit"))
            units.append(unit)
            await until_waiting(pool, 1)
            order.append("interactive ends")

    units: list[asyncio.Task[int]] = []
    task = asyncio.create_task(interactive())
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(running, task)
    await asyncio.wait_for(units[0], LONG)
    assert order == ["running", "interactive begins", "interactive ends", "unit"]
    assert await names(pool) == ["interactive", "running", "unit"]


async def test_what_waits_behind_it_expires_and_has_no_effect(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", queue_timeout=0.1) as pool:
        async with pool.transaction() as tx:
            await tx.execute(INSERT, ("interactive",))
            attempts = [
                pool.run_unit(adding(pool, "unit")),
                pool.execute(INSERT, ("statement",)),
                # Inside the block these would wait for the block's own end.
                pool.run_alone(lambda raw: raw.total_changes),
                one_more(pool, "nested"),
            ]
            for result in await asyncio.wait_for(outcomes(attempts), LONG):
                assert isinstance(result, DatabaseBusy)
            assert pool.writer.queue.expired == 4
            assert len(pool.writer.queue) == 0
        assert await names(pool) == ["interactive"]
        await assert_at_rest(pool)


async def one_more(pool: AsyncConnectionPool, name: str) -> None:
    async with pool.transaction() as tx:
        await tx.execute(INSERT, (name,))


async def test_it_is_the_units_own_inside_a_unit(pool: AsyncConnectionPool) -> None:
    async def work() -> None:
        await one_more(pool, "a")
        await one_more(pool, "b")

    await pool.run_unit(work)
    assert pool.writer.stats.commits == 1
    assert await names(pool) == ["a", "b"]


async def test_it_is_of_no_use_after_its_block(pool: AsyncConnectionPool) -> None:
    kept: list[Transaction] = []
    async with pool.transaction() as tx:
        kept.append(tx)
    async with pool.transaction():
        with pytest.raises(UnitOfWorkError):
            await kept[0].execute(INSERT, ("late",))
    assert await names(pool) == []


async def test_cancelled_while_it_waits_for_its_turn_it_never_begins(
    pool: AsyncConnectionPool,
) -> None:
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    await gate.reached()
    task = asyncio.create_task(one_more(pool, "cancelled"))
    await asyncio.sleep(0)
    task.cancel()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    await running
    assert await names(pool) == ["running"]
    await assert_at_rest(pool)


@pytest.mark.parametrize(
    "statement", ["BEGIN IMMEDIATE", "INSERT INTO items (name) VALUES ('cancelled')"]
)
async def test_cancelled_before_its_commit_it_is_rolled_back(
    pool: AsyncConnectionPool, statement: str
) -> None:
    async with gate_at(pool, statement) as gate:
        task = asyncio.create_task(one_more(pool, "cancelled"))
        await gate.reached()
        # Repeated cancellations, as anyio sends them, change nothing.
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await names(pool) == []
    await assert_at_rest(pool)
    await one_more(pool, "next")
    assert await names(pool) == ["next"]


async def test_cancelled_in_its_commit_it_is_committed(pool: AsyncConnectionPool) -> None:
    async with gate_at(pool, "COMMIT") as gate:
        task = asyncio.create_task(one_more(pool, "committed"))
        await gate.reached()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await names(pool) == ["committed"]
    await assert_at_rest(pool)


async def test_cancelled_in_its_rollback_it_is_rolled_back(pool: AsyncConnectionPool) -> None:
    async def failing() -> None:
        async with pool.transaction() as tx:
            await tx.execute(INSERT, ("lost",))
            raise KeyError("mine")

    async with gate_at(pool, "ROLLBACK") as gate:
        task = asyncio.create_task(failing())
        await gate.reached()
        task.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_another_process_that_writes_for_too_long_is_told_as_busy(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path, busy_timeout=0.05) as pool:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            await one_more(pool, "late")
        with pytest.raises(DatabaseBusy):
            await pool.run_unit(adding(pool, "late"))
        other.execute("ROLLBACK")
        other.close()
        assert pool.writer.poisoned is None
        await one_more(pool, "in time")
        assert await names(pool) == ["in time"]
        await assert_at_rest(pool)


async def test_closing_the_pool_rolls_it_back_when_it_does_not_end(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path) as pool:
        begun = asyncio.Event()
        go_on = asyncio.Event()

        async def endless() -> None:
            async with pool.transaction() as tx:
                await tx.execute(INSERT, ("lost",))
                begun.set()
                await go_on.wait()
                await tx.execute(INSERT, ("late",))

        task = asyncio.create_task(endless())
        await begun.wait()
        waiting = asyncio.create_task(one_more(pool, "waiting"))
        await asyncio.sleep(0)
        await asyncio.wait_for(pool.close(grace=0.01), LONG)
        go_on.set()
        for result in await outcomes([task, waiting]):
            assert isinstance(result, DatabaseClosed)
    assert stored_names(path) == []


async def test_closing_the_pool_waits_for_one_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path) as pool:
        async with pool.transaction() as tx:
            await tx.execute(INSERT, ("first half",))
            closing = asyncio.create_task(pool.close(grace=LONG))
            while pool.is_open:
                await asyncio.sleep(0)
            await tx.execute(INSERT, ("second half",))
        await closing
    assert stored_names(path) == ["first half", "second half"]
