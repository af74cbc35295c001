"""Reads don't wait behind a slow statement, and a broken connection is replaced."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from database.errors import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    StatementError,
)
from database.slow_reads import reading_slowly
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import NICENESS
from database.sqlite.readers import BothReaders
from database.sqlite.transaction import Work
from tests.database.engine import (
    ENDLESS,
    LONG,
    Gate,
    adding,
    assert_at_rest,
    holding,
    make_database,
    names,
    open_pool,
    outcomes,
)


async def test_quick_reads_are_answered_while_a_slow_one_runs(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=2) as pool:
        slow = asyncio.create_task(pool.fetch_one(ENDLESS))
        quick = [asyncio.create_task(pool.fetch_one("SELECT ?", (n,))) for n in range(100)]
        rows = await asyncio.wait_for(asyncio.gather(*quick), LONG)
        assert [row[0] for row in rows if row is not None] == list(range(100))
        # Statements that come later don't wait for it either.
        for n in range(20):
            row = await asyncio.wait_for(pool.fetch_one("SELECT ?", (n,)), LONG)
            assert row is not None
        assert not slow.done()
        assert pool.readers.stats.stalls >= 1
        await pool.close(grace=0)
        with pytest.raises(DatabaseBusy):
            await slow


async def test_reads_before_a_slow_one_in_the_same_hop_do_not_wait_for_it(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1) as pool:
        gate = Gate()
        before = [asyncio.create_task(pool.fetch_one("SELECT ?", (n,))) for n in range(5)]
        slow = asyncio.create_task(pool.run_read(holding(gate)))
        await asyncio.wait_for(asyncio.gather(*before), LONG)
        await gate.reached()
        assert not slow.done()
        # With a single reader, later statements have to wait.
        after = asyncio.create_task(pool.fetch_one("SELECT 1"))
        gate.open()
        await asyncio.gather(slow, after)


async def test_what_waits_goes_together_in_one_hop(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1, stall_seconds=60) as pool:
        gate = Gate()
        first = asyncio.create_task(pool.run_read(holding(gate)))
        await gate.reached()
        others = [asyncio.create_task(pool.fetch_all("SELECT 1")) for _ in range(5)]
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(first, *others)
        assert pool.readers.stats.hops <= 2
        assert pool.readers.stats.queries == 6


async def test_a_reading_unit_sees_one_snapshot(pool: AsyncConnectionPool) -> None:
    gate = Gate()

    async def count_twice() -> tuple[int, int]:
        async with pool.transaction() as tx:
            before = await tx.fetch_all("SELECT id FROM items")
            gate.hold()
            after = await tx.fetch_all("SELECT id FROM items")
            return len(before), len(after)

    reading = asyncio.create_task(pool.run_unit(count_twice, read_only=True))
    await gate.reached()
    await pool.run_unit(adding(pool, "meanwhile"))
    gate.open()
    assert await reading == (0, 0)
    assert await names(pool) == ["meanwhile"]
    await assert_at_rest(pool)


async def test_a_read_sees_what_was_answered_before(pool: AsyncConnectionPool) -> None:
    for n in range(20):
        await pool.run_unit(adding(pool, f"n{n}"))
        assert len(await names(pool)) == n + 1


async def test_a_reading_unit_may_not_write_and_costs_no_connection(
    pool: AsyncConnectionPool,
) -> None:
    async def writing() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('lost')")

    with pytest.raises(DatabaseReadOnly):
        await pool.run_unit(writing, read_only=True)
    with pytest.raises(DatabaseReadOnly):
        await pool.fetch_all("DELETE FROM items")
    assert await names(pool) == []
    assert pool.readers.stats.reopened == 0
    await assert_at_rest(pool)


async def test_a_reading_unit_that_raises_leaves_no_snapshot(pool: AsyncConnectionPool) -> None:
    def failing(error: Exception) -> Work[None]:
        async def work() -> None:
            async with pool.transaction() as tx:
                await tx.fetch_all("SELECT * FROM items")
                raise error

        return work

    for error in (KeyError("mine"), StatementError("theirs")):
        with pytest.raises(type(error)):
            await pool.run_unit(failing(error), read_only=True)
    await pool.run_unit(adding(pool, "one"))
    assert await pool.writer.checkpoint()
    await assert_at_rest(pool)


async def test_a_function_that_leaves_a_snapshot_open_does_not_pin_the_log(
    pool: AsyncConnectionPool,
) -> None:
    def leaves_open(raw: sqlite3.Connection) -> int:
        raw.execute("BEGIN")
        return len(raw.execute("SELECT * FROM items").fetchall())

    assert await pool.run_read(leaves_open) == 0
    await pool.run_unit(adding(pool, "one"))
    assert await pool.run_read(lambda raw: raw.in_transaction) is False
    assert await pool.writer.checkpoint()
    await assert_at_rest(pool)


async def test_a_connection_that_was_closed_underneath_is_replaced(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1) as pool:
        await pool.run_unit(adding(pool, "one"))
        broken = next(iter(pool.readers._all))
        await broken.run(lambda raw: raw.close())
        with pytest.raises(DatabaseError):
            await asyncio.wait_for(pool.fetch_all("SELECT 1"), LONG)
        assert await asyncio.wait_for(names(pool), LONG) == ["one"]
        assert pool.readers.stats.reopened == 1
        assert pool.readers.alive == 1
        assert broken not in pool.readers._all
        await asyncio.to_thread(broken._thread.join, LONG)
        assert not broken._thread.is_alive()


async def test_a_thread_that_was_closed_underneath_is_replaced(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1) as pool:
        await next(iter(pool.readers._all)).close()
        assert await asyncio.wait_for(names(pool), LONG) == []
        assert pool.readers.stats.reopened == 1


async def test_a_connection_that_found_the_file_damaged_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path, readers=1, reader_cache_kib=64) as pool:
        await pool.execute_many(
            "INSERT INTO parts (body) VALUES (?)", [("x" * 1000,) for _ in range(2000)]
        )
        await pool.run_unit(adding(pool, "one"))
        assert await pool.writer.checkpoint()
        broken = set(pool.readers._all)
        os.truncate(path, 100 * 4096)
        with pytest.raises((DatabaseCorrupt, DatabaseUnavailable)):
            await pool.fetch_all("SELECT sum(length(body)) FROM parts")
        # Undamaged data can still be read, on a new connection.
        assert await asyncio.wait_for(names(pool), LONG) == ["one"]
        assert pool.readers.stats.reopened == 1
        assert not broken & pool.readers._all


NO_DESCRIPTORS = """
import asyncio, json, os, resource, sys
from pathlib import Path
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from database.errors import DatabaseBusy, DatabaseError

async def main():
    pool = AsyncConnectionPool(ConnectionConfig(Path(sys.argv[1]), readers=1, queue_timeout=0.3))
    await pool.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader = next(iter(pool.readers._all))
    await reader.run(lambda raw: raw.close())
    # SQLite keeps a closed connection's descriptors while others have locks: use up all of them.
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    seen = []
    for _ in range(2):
        try:
            await pool.fetch_all("SELECT 1")
        except DatabaseError as error:
            seen.append(type(error).__name__)
    alive = pool.readers.alive
    for descriptor in taken:
        os.close(descriptor)
    while pool.readers.alive == 0:
        await asyncio.sleep(0.01)
    rows = await pool.fetch_all("SELECT count(*) AS n FROM items")
    print(json.dumps([seen, alive, pool.readers.alive, rows[0]["n"], pool.readers.stats.reopened]))
    await pool.close()

asyncio.run(main())
"""


async def test_a_reader_that_can_not_be_opened_for_a_while_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    make_database(path)
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", NO_DESCRIPTORS, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # The first statement gets its connection's error, the second one found no connection in time.
    assert run.stdout.strip() == '[["StatementError", "DatabaseBusy"], 0, 1, 0, 1]'


async def test_closing_stops_the_attempts_to_reopen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path, readers=1) as pool:
        await pool.run_unit(adding(pool, "one"))
        moved = path.with_name("elsewhere")
        reader = next(iter(pool.readers._all))
        # No reader can be opened while a directory is in the file's place.
        path.rename(moved)
        path.mkdir()
        await reader.run(lambda raw: raw.close())
        with pytest.raises(DatabaseError):
            await asyncio.wait_for(pool.fetch_all("SELECT 1"), LONG)
        waiting = asyncio.create_task(pool.fetch_all("SELECT 1"))
        while "could not be reopened" not in caplog.text:
            await asyncio.sleep(0.001)
        assert pool.readers.alive == 0
        await asyncio.wait_for(pool.close(), LONG)
        assert isinstance((await outcomes([waiting]))[0], DatabaseBusy)
        path.rmdir()
        moved.rename(path)


async def test_closing_interrupts_one_statement_after_the_other(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=2) as pool:
        started = Gate()

        async def several() -> int:
            interrupted = 0
            started.hold()
            async with pool.transaction() as tx:
                for _ in range(3):
                    try:
                        await tx.fetch_one(ENDLESS)
                    except DatabaseBusy:
                        interrupted += 1
            return interrupted

        unit = asyncio.create_task(pool.run_unit(several, read_only=True))
        await started.reached()
        started.open()
        await asyncio.wait_for(pool.close(grace=0.05), LONG)
        assert await unit == 3


async def test_closing_does_not_stumble_over_a_connection_closed_underneath(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1) as pool:
        gate = Gate()

        def closing_it(raw: sqlite3.Connection) -> str:
            raw.close()
            gate.hold()
            return "done"

        reading = asyncio.create_task(pool.run_read(closing_it))
        await gate.reached()
        closing = asyncio.create_task(pool.close(grace=0))
        done, _ = await asyncio.wait({closing}, timeout=0.05)
        assert not done
        gate.open()
        await asyncio.wait_for(closing, LONG)
        assert await reading == "done"


async def test_a_cancelled_read_does_not_disturb_the_next(pool: AsyncConnectionPool) -> None:
    gate = Gate()
    reading = asyncio.create_task(pool.run_read(holding(gate)))
    await gate.reached()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    gate.open()
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_slow_reads_have_readers_of_their_own_that_yield_to_others(
    pool: AsyncConnectionPool,
) -> None:
    def niceness(_: sqlite3.Connection) -> tuple[str, int]:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return threading.current_thread().name, nice

    name, quick = await pool.run_read(niceness)
    assert name.startswith("strongroom-reader-")
    with reading_slowly():
        name, slow = await pool.run_read(niceness)
        assert (await pool.fetch_all("SELECT 1"))[0][0] == 1
    assert name.startswith("strongroom-slow-reader-")
    if sys.platform == "linux":
        assert slow == min(quick + NICENESS, 19)
    assert (await pool.run_read(niceness))[1] == quick
    assert pool.stats()["slow_readers"]["queries"] == 2
    assert pool.stats()["readers"]["queries"] == 2


async def test_reads_are_answered_while_all_slow_readers_read(pool: AsyncConnectionPool) -> None:
    go_on = threading.Event()
    with reading_slowly():
        slow = [asyncio.create_task(pool.run_read(lambda _: go_on.wait(30))) for _ in range(6)]
    try:
        for _ in range(20):
            assert (await pool.fetch_all("SELECT 1"))[0][0] == 1
        assert not any(task.done() for task in slow)
    finally:
        go_on.set()
    assert await asyncio.gather(*slow) == [True] * 6


async def test_the_checkpointer_sees_and_interrupts_slow_reads(pool: AsyncConnectionPool) -> None:
    with reading_slowly():
        read = asyncio.create_task(pool.fetch_all(ENDLESS))
    both = BothReaders(pool.readers, pool.slow_readers)
    while not pool.slow_readers.is_reading():
        await asyncio.sleep(0)
    assert both.is_reading()
    while not read.done():
        both.interrupt(time.monotonic() + 1)
        await asyncio.sleep(0)
    with pytest.raises(DatabaseBusy):
        await read
    while both.is_reading():
        await asyncio.sleep(0)
