"""Waiting for a turn: cancelled, expired, refused or closed, but never half done."""

import asyncio
import threading
from pathlib import Path

import pytest

from database.errors import DatabaseBusy, DatabaseClosed
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import (
    ENDLESS,
    LONG,
    Gate,
    adding,
    adding_at,
    assert_at_rest,
    holding,
    names,
    open_pool,
    outcomes,
    stored_names,
    until_waiting,
)


async def test_a_cancelled_waiter_leaves_the_queue_and_has_no_effect(
    pool: AsyncConnectionPool,
) -> None:
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    await gate.reached()
    waiting = [asyncio.create_task(pool.run_unit(adding(pool, f"w{n}"))) for n in range(3)]
    await until_waiting(pool, 3)
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    assert len(pool.writer.queue) == 2
    assert pool.writer.queue.cancelled == 1
    gate.open()
    await asyncio.gather(running, waiting[0], waiting[2])
    assert await names(pool) == ["running", "w0", "w2"]
    await assert_at_rest(pool)


async def test_a_unit_cancelled_in_the_middle_completes_whole(pool: AsyncConnectionPool) -> None:
    gate = Gate()

    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('first half')")
            gate.hold()
            await tx.execute("INSERT INTO items (name) VALUES ('second half')")

    unit = asyncio.create_task(pool.run_unit(work))
    await gate.reached()
    unit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unit
    gate.open()
    await pool.run_unit(adding(pool, "next"))
    assert await names(pool) == ["first half", "next", "second half"]
    await assert_at_rest(pool)


async def test_a_unit_that_is_closed_instead_of_cancelled_leaves_the_queue(
    pool: AsyncConnectionPool,
) -> None:
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    await gate.reached()
    waiting = pool.run_unit(adding(pool, "closed"))
    waiting.send(None)
    assert len(pool.writer.queue) == 1
    waiting.close()
    assert len(pool.writer.queue) == 0
    gate.open()
    await running
    assert await names(pool) == ["running"]


async def test_a_unit_that_waited_too_long_is_refused_and_has_no_effect(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", queue_timeout=0.05) as pool:
        gate = Gate()
        running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
        await gate.reached()
        results = await outcomes(pool.run_unit(adding(pool, f"late{n}")) for n in range(3))
        assert [type(result) for result in results] == [DatabaseBusy] * 3
        assert len(pool.writer.queue) == 0
        assert pool.writer.queue.expired == 3
        gate.open()
        await running
        assert await names(pool) == ["running"]
        await assert_at_rest(pool)


async def test_the_deadline_holds_for_each_waiter_and_not_for_the_queue(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", queue_timeout=0.2) as pool:
        gate = Gate()
        running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
        await gate.reached()
        early = asyncio.create_task(pool.run_unit(adding(pool, "early")))
        await asyncio.sleep(0.1)
        late = asyncio.create_task(pool.run_unit(adding(pool, "late")))
        with pytest.raises(DatabaseBusy):
            await early
        assert not late.done()
        gate.open()
        await asyncio.gather(running, late)
        assert await names(pool) == ["late", "running"]


async def test_a_full_queue_refuses_at_once_and_takes_work_again_later(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", queue_limit=3) as pool:
        gate = Gate()
        tasks = [asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))]
        await gate.reached()
        tasks += [asyncio.create_task(pool.run_unit(adding(pool, f"w{n}"))) for n in range(2)]
        await until_waiting(pool, 2)
        with pytest.raises(DatabaseBusy) as refused:
            await pool.run_unit(adding(pool, "too much"))
        assert refused.value.retry_after >= 1
        assert pool.writer.queue.refused == 1
        gate.open()
        await asyncio.gather(*tasks)
        await pool.run_unit(adding(pool, "later"))
        assert await names(pool) == ["later", "running", "w0", "w1"]


async def test_reads_have_a_limit_of_their_own(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1, queue_limit=1) as pool:
        slow = asyncio.create_task(pool.fetch_all(ENDLESS))
        await asyncio.sleep(0)
        with pytest.raises(DatabaseBusy):
            await pool.fetch_all("SELECT 1")
        await pool.run_unit(adding(pool, "written"))
        await pool.close(grace=0)
        with pytest.raises(DatabaseBusy):
            await slow


async def test_reads_wait_while_all_readers_are_slow_and_then_expire(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=2, queue_timeout=0.1) as pool:
        gates = [Gate(), Gate()]
        slow = [asyncio.create_task(pool.run_read(holding(gate))) for gate in gates]
        for gate in gates:
            await gate.reached()
        with pytest.raises(DatabaseBusy):
            await pool.fetch_one("SELECT 1")
        assert pool.readers.queue.expired == 1
        assert len(pool.readers.queue) == 0
        for gate in gates:
            gate.open()
        await asyncio.gather(*slow)
        row = await pool.fetch_one("SELECT 1")
        assert row is not None
        await assert_at_rest(pool)


async def test_closing_refuses_waiters_and_lets_the_running_unit_finish(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path) as pool:
        gate = Gate()
        running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
        await gate.reached()
        waiting = asyncio.create_task(pool.run_unit(adding(pool, "waiting")))
        await until_waiting(pool, 1)
        closing = asyncio.create_task(pool.close())
        with pytest.raises(DatabaseClosed):
            await waiting
        assert not pool.is_open
        assert not running.done()
        with pytest.raises(DatabaseClosed):
            await pool.fetch_one("SELECT 1")
        gate.open()
        await closing
        assert await running == 1
    assert stored_names(path) == ["running"]


async def test_a_waiter_that_is_cancelled_as_the_pool_closes_is_cancelled(
    pool: AsyncConnectionPool,
) -> None:
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    await gate.reached()
    waiting = asyncio.create_task(pool.run_unit(adding(pool, "waiting")))
    await until_waiting(pool, 1)
    waiting.cancel()
    pool.writer.refuse()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open()
    assert await running == 1


async def test_every_way_in_is_closed(pool: AsyncConnectionPool) -> None:
    readers, writer = pool.readers, pool.writer
    await pool.close()
    attempts = [
        pool.fetch_all("SELECT 1"),
        pool.fetch_one("SELECT 1"),
        pool.execute("DELETE FROM items"),
        pool.execute_many("DELETE FROM items WHERE id = ?", [(1,)]),
        pool.execute_returning("DELETE FROM items RETURNING id"),
        pool.run_unit(adding(pool, "late")),
        pool.run_unit(adding(pool, "late"), read_only=True),
        pool.run_read(lambda raw: raw.total_changes),
        pool.run_alone(lambda raw: raw.total_changes),
        # Also for references to the readers and the writer from before the close.
        readers.fetch_all("SELECT 1"),
        writer.run_unit(adding(pool, "late")),
        writer.run_alone(lambda raw: raw.total_changes),
    ]
    for result in await outcomes(attempts):
        assert isinstance(result, DatabaseClosed)
    with pytest.raises(DatabaseClosed):
        async with pool.transaction():
            pass
    assert pool.stats() == {"open": False}


async def test_closing_twice_is_closing_once(pool: AsyncConnectionPool) -> None:
    await pool.close()
    await pool.close()
    assert not pool.is_open


async def test_the_second_close_waits_for_the_first(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db") as pool:
        gate = Gate()
        running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
        await gate.reached()
        first = asyncio.create_task(pool.close())
        second = asyncio.create_task(pool.close())
        done, _ = await asyncio.wait({second}, timeout=0.05)
        assert not done
        gate.open()
        await asyncio.gather(first, second)
        assert running.done()


async def test_a_cancelled_close_still_closes_everything(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db") as pool:
        gate = Gate()
        running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
        await gate.reached()
        threads = [pool.writer._connection._thread, *(r._thread for r in pool.readers._all)]
        closing = asyncio.create_task(pool.close())
        while pool.is_open:
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing}, timeout=0.05)
        gate.open()
        await running
        await pool.close()
        for thread in threads:
            await asyncio.to_thread(thread.join, LONG)
            assert not thread.is_alive()


async def test_a_pool_can_be_opened_again(pool: AsyncConnectionPool) -> None:
    await pool.run_unit(adding(pool, "before"))
    await pool.close()
    await pool.open()
    await pool.run_unit(adding(pool, "after"))
    assert await names(pool) == ["after", "before"]


def database_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("strongroom-")]


async def test_opening_twice_at_once_opens_one_set_of_connections(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=2) as pool:
        await pool.close()
        for thread in database_threads():
            await asyncio.to_thread(thread.join, LONG)
        await asyncio.gather(pool.open(), pool.open(), pool.open())
        names = ("reader-0", "reader-1", "slow-reader-0", "slow-reader-1", "writer")
        expected = [f"strongroom-{name}" for name in names]
        assert sorted(thread.name for thread in database_threads()) == expected


async def test_a_cancelled_open_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db") as pool:
        await pool.close()
        before = set(threading.enumerate())
        opening = asyncio.create_task(pool.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not pool.is_open
        for thread in set(threading.enumerate()) - before:
            await asyncio.to_thread(thread.join, LONG)
            assert not thread.is_alive()
        await pool.open()
        assert await names(pool) == []


async def test_a_waiting_unit_expires_while_a_thread_holds_the_write_lock(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", queue_timeout=0.1) as pool:
        assert pool._write_lock.acquire(timeout=1)
        try:
            with pytest.raises(DatabaseBusy):
                await asyncio.wait_for(pool.run_unit(adding(pool, "late")), LONG)
            with pytest.raises(DatabaseBusy):
                await asyncio.wait_for(pool.run_alone(lambda raw: raw.in_transaction), LONG)
        finally:
            pool._write_lock.release()
        await pool.run_unit(adding(pool, "next"))
        assert await names(pool) == ["next"]
        await assert_at_rest(pool)


async def test_cancelled_twice_while_it_waits_for_the_write_lock_it_takes_it_no_more(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path / "engine.db", queue_timeout=5) as pool:
        assert pool._write_lock.acquire(timeout=1)
        try:
            waiting = asyncio.create_task(pool.run_alone(lambda raw: raw.in_transaction))
            for _ in range(3):
                await asyncio.sleep(0.02)
                waiting.cancel()
        finally:
            pool._write_lock.release()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(pool.run_unit(adding(pool, "next")), LONG)
        assert await names(pool) == ["next"]


async def test_an_urgent_unit_goes_before_all_that_wait(pool: AsyncConnectionPool) -> None:
    gate = Gate()
    running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
    await gate.reached()
    waiting = [asyncio.create_task(pool.run_unit(adding(pool, f"w{n}"))) for n in range(3)]
    await until_waiting(pool, 3)
    urgent = asyncio.create_task(pool.run_unit(adding(pool, "urgent"), urgent=True))
    await until_waiting(pool, 4)
    gate.open()
    await asyncio.gather(running, urgent, *waiting)
    assert await names(pool) == ["running", "urgent", "w0", "w1", "w2"]
    await assert_at_rest(pool)


async def test_an_urgent_unit_can_be_cancelled_and_expires_like_all_others(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", queue_timeout=0.1) as pool:
        gate = Gate()
        running = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "running")))
        await gate.reached()
        ordinary = asyncio.create_task(pool.run_unit(adding(pool, "ordinary")))
        urgent = [
            asyncio.create_task(pool.run_unit(adding(pool, f"u{n}"), urgent=True)) for n in range(2)
        ]
        await until_waiting(pool, 3)
        urgent[0].cancel()
        for task in (urgent[1], ordinary):
            with pytest.raises(DatabaseBusy):
                await task
        gate.open()
        await running
        assert pool.writer.queue.cancelled == 1
        assert pool.writer.queue.expired == 2
        assert await names(pool) == ["running"]
        await assert_at_rest(pool)
