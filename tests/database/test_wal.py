"""The write-ahead log: which process checkpoints, when, and what must not prevent its reset."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from database.sqlite import wal
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from tests.database.engine import (
    LONG,
    Gate,
    adding,
    make_database,
    names,
    open_pool,
    outcomes,
)


async def test_only_the_writer_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    make_database(path)
    statements: list[tuple[str, str]] = []

    def tracing(name: str) -> Callable[[sqlite3.Connection], None]:
        return lambda raw: raw.set_trace_callback(lambda sql: statements.append((name, sql)))

    config = ConnectionConfig(path, checkpoint_frames=1, readers=2)
    async with DatabaseManager(config) as manager:
        pool = manager.async_pool
        await pool.run_alone(tracing("writer"))
        for reader in list(pool.readers._all):
            await reader.run(tracing("reader"))
        with manager.sync_pool.connection() as connection:
            tracing("sync")(connection)
        for n in range(5):
            await pool.run_unit(adding(pool, f"unit {n}"))
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO items (name) VALUES (?)", (f"interactive {n}",))
            manager.execute_command("INSERT INTO items (name) VALUES (?)", (f"sync {n}",))
            await names(pool)
        assert await pool.writer.checkpoint()
        checkpoints = {name for name, sql in statements if "wal_checkpoint" in sql}
        assert {name for name, _ in statements} == {"writer", "reader", "sync"}
        assert checkpoints == {"writer"}
        assert pool.writer.stats.checkpoints >= 5
        assert pool.writer.stats.wal_truncations >= 1


async def test_commits_of_the_synchronous_half_count_for_the_next_checkpoint(
    tmp_path: Path,
) -> None:
    path = tmp_path / "engine.db"
    make_database(path)
    async with DatabaseManager(ConnectionConfig(path, checkpoint_frames=40)) as manager:
        for n in range(20):
            manager.execute_command("INSERT INTO items (name) VALUES (?)", (f"sync {n}",))
        assert manager.async_pool.writer.stats.checkpoints == 0
        await manager.async_pool.run_unit(adding(manager.async_pool, "unit"))
        await manager.async_pool.run_alone(lambda raw: raw.total_changes)
        assert manager.async_pool.writer.stats.checkpoints == 1


async def test_a_process_that_leaves_checkpoints_to_another_warns_when_none_are_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"checkpoint_frames": 0, "wal_limit_bytes": 300_000}
    async with open_pool(tmp_path / "engine.db", **config) as pool:
        for n in range(4):
            await pool.run_unit(adding(pool, "x" * 100_000 + str(n)))
        # Callers are answered before the batch has ended.
        await pool.run_alone(lambda raw: raw.total_changes)
        told = [record.getMessage() for record in caplog.records]
        assert [text for text in told if "the process that checkpoints" in text] == told
        assert 1 <= len(told) < 4
        assert pool.writer.stats.checkpoints == 0
        assert len(await names(pool)) == 4


async def test_the_log_is_truncated_when_it_has_become_too_large(tmp_path: Path) -> None:
    async with open_pool(
        tmp_path / "engine.db", checkpoint_frames=1, wal_limit_bytes=200_000
    ) as pool:
        await pool.execute("INSERT INTO parts (body) VALUES (?)", ("x" * 300_000,))
        await pool.run_alone(lambda raw: raw.total_changes)
        assert pool.writer.stats.wal_truncations == 1
        assert pool.stats()["wal_bytes"] == 0
        timeout = await pool.run_alone(lambda raw: raw.execute("PRAGMA busy_timeout").fetchone())
        assert timeout[0] == 5000


async def test_a_long_reader_keeps_the_log_but_no_writer_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "RETRY_SECONDS", 0)
    async with open_pool(
        tmp_path / "engine.db",
        checkpoint_frames=1,
        wal_limit_bytes=1,
        queue_timeout=60,
        evict_seconds=0.05,
    ) as pool:
        await pool.run_unit(adding(pool, "before"))
        gate = Gate()

        async def long_read() -> int:
            async with pool.transaction() as tx:
                count = len(await tx.fetch_all("SELECT * FROM items"))
                gate.hold()
                return count

        reading = asyncio.create_task(pool.run_unit(long_read, read_only=True))
        await gate.reached()
        for n in range(10):
            await asyncio.wait_for(pool.run_unit(adding(pool, f"n{n}")), LONG)
        assert pool.stats()["wal_bytes"] > 0
        gate.open()
        assert await reading == 1
        await pool.run_unit(adding(pool, "after"))
        await pool.run_alone(lambda raw: raw.total_changes)
        assert pool.stats()["wal_bytes"] == 0


async def test_a_checkpoint_says_when_a_reader_kept_it_from_the_end(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", busy_timeout=0.01) as pool:
        gate = Gate()

        async def long_read() -> None:
            async with pool.transaction() as tx:
                await tx.fetch_all("SELECT * FROM items")
                gate.hold()

        reading = asyncio.create_task(pool.run_unit(long_read, read_only=True))
        await gate.reached()
        await pool.run_unit(adding(pool, "one"))
        assert not await pool.writer.checkpoint()
        gate.open()
        await reading
        assert await pool.writer.checkpoint()


async def test_no_cursor_stays_open_and_keeps_the_log(pool: AsyncConnectionPool) -> None:
    await pool.execute_many("INSERT INTO items (name) VALUES (?)", [(f"n{n}",) for n in range(50)])
    overflow = "SELECT abs(CASE id WHEN 30 THEN -9223372036854775807 - 1 ELSE id END) FROM items"
    first = "SELECT abs(-9223372036854775807 - 1) FROM items"
    undecodable = "SELECT CASE id WHEN 30 THEN CAST(x'ff' AS TEXT) ELSE name END FROM items"

    async def unit() -> None:
        async with pool.transaction() as tx:
            await tx.fetch_one("SELECT * FROM items")
            for sql in (overflow, undecodable, first):
                for fetch in (tx.fetch_all, tx.fetch_one, tx.execute):
                    with contextlib.suppress(DatabaseError):
                        await fetch(sql)

    await pool.run_unit(unit)
    await pool.run_unit(unit, read_only=True)
    # The errors are kept, with the frames that raised them.
    kept = await outcomes(
        [pool.fetch_one("SELECT * FROM items"), *(pool.fetch_one(first) for _ in range(5))]
        + [pool.fetch_all(sql) for sql in (overflow, undecodable, first)]
        + [pool.execute_returning(f"UPDATE items SET amount = 1 RETURNING ({first})")]  # noqa: S608
    )
    assert sum(isinstance(result, DatabaseError) for result in kept) == 8
    await pool.run_unit(adding(pool, "last"))
    assert await pool.writer.checkpoint()
    assert pool.stats()["wal_bytes"] == 0
