"""The counters match what happened."""

import asyncio
from pathlib import Path

import pytest

from database.errors import DatabaseBusy, DatabaseError
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from database.sqlite.wal import wal_bytes
from tests.database.engine import (
    Gate,
    adding,
    adding_at,
    holding,
    make_database,
    open_pool,
    outcomes,
    until_waiting,
)

WRITER = {
    *("units", "failed_units", "commits", "failed_commits", "largest_batch", "wait_total"),
    *("busy_total", "checkpoints", "wal_truncations", "repeated_batches", "units_together"),
}
READERS = {
    *("queries", "hops", "largest_hop", "stalls", "reopened", "wait_total", "connections"),
}
QUEUE = {"waiting", "unanswered", "refused", "expired", "cancelled"}


async def test_every_counter_is_there_and_starts_at_zero(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=3) as pool:
        stats = pool.stats()
        assert set(stats) == {
            *("open", "poisoned", "writer", "readers", "slow_readers", "wal_bytes"),
            "wal_pinned",
        }
        assert stats["wal_pinned"] is False
        assert stats["writer"].keys() == WRITER | QUEUE
        assert stats["readers"].keys() == stats["slow_readers"].keys() == READERS | QUEUE
        assert stats["open"] is True
        assert stats["poisoned"] is False
        assert set(stats["writer"].values()) == {0}
        assert stats["readers"].pop("connections") == 3
        assert set(stats["readers"].values()) == {0}
        assert stats["slow_readers"].pop("connections") == 2
        assert set(stats["slow_readers"].values()) == {0}


async def test_writes_add_up(pool: AsyncConnectionPool) -> None:
    async def failing() -> None:
        raise KeyError

    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    others = [asyncio.create_task(pool.run_unit(adding(pool, f"n{n}"))) for n in range(4)]
    failed = asyncio.create_task(pool.run_unit(failing))
    cancelled = asyncio.create_task(pool.run_unit(adding(pool, "cancelled")))
    await until_waiting(pool, 6)
    stats = pool.stats()["writer"]
    assert (stats["waiting"], stats["unanswered"]) == (6, 7)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    gate.open()
    await asyncio.gather(first, *others)
    await asyncio.wait([failed])
    async with pool.transaction() as tx:
        await tx.execute("DELETE FROM items")
    with pytest.raises(DatabaseError):
        await pool.execute("INSERT INTO parts (item_id) VALUES (4711)")
    await pool.run_alone(lambda raw: raw.total_changes)
    stats = pool.stats()["writer"]
    assert stats["units"] == 6
    assert stats["failed_units"] == 2
    assert stats["commits"] == 2
    assert stats["failed_commits"] == 1
    assert stats["largest_batch"] == 6
    assert stats["cancelled"] == 1
    assert (stats["waiting"], stats["unanswered"]) == (0, 0)
    # Six units waited at the gate, so the sum is more than zero.
    assert stats["wait_total"] > 0
    assert stats["busy_total"] > 0
    assert pool.stats()["wal_bytes"] > 0


async def test_reads_add_up(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=1, queue_timeout=0.05) as pool:
        gate = Gate()
        first = asyncio.create_task(pool.run_read(holding(gate)))
        await gate.reached()
        late = await outcomes(pool.fetch_all("SELECT 1") for _ in range(3))
        assert [type(result) for result in late] == [DatabaseBusy] * 3
        gate.open()
        await first
        await asyncio.gather(*(pool.fetch_all("SELECT 1") for _ in range(10)))
        # A slow hop sends its answers before it is counted.
        while pool.readers._hops:
            await asyncio.sleep(0)
        stats = pool.stats()["readers"]
        assert stats["queries"] == 11
        assert stats["expired"] == 3
        assert stats["stalls"] >= 1
        assert 2 <= stats["hops"] <= 11
        assert 1 <= stats["largest_hop"] <= 10
        assert stats["wait_total"] > 0
        assert (stats["waiting"], stats["unanswered"]) == (0, 0)


def test_a_log_that_is_not_there_has_no_size(tmp_path: Path) -> None:
    assert wal_bytes(ConnectionConfig(tmp_path / "engine.db")) == 0


async def test_checkpoints_are_counted_and_the_size_of_the_log_is_its_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "engine.db"
    config = make_database(path)
    async with open_pool(path) as pool:
        await pool.run_unit(adding(pool, "one"))
        assert pool.stats()["wal_bytes"] == config.wal_path.stat().st_size > 0
        assert await pool.writer.checkpoint()
        stats = pool.stats()
        assert stats["wal_bytes"] == 0
        assert stats["writer"]["checkpoints"] == stats["writer"]["wal_truncations"] == 1
