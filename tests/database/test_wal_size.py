"""The size of the write-ahead log is limited, whatever the sizes of commits and of our own
reads."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from database.errors import DatabaseBusy
from database.sqlite import wal
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from tests.database.engine import ENDLESS, LONG, adding, make_database, open_pool

INSERT = "INSERT INTO parts (body) VALUES (?)"
HELD = f"SELECT id FROM items WHERE ({ENDLESS})"  # noqa: S608 - constants
LIMIT = 2_000_000
SMALL = {"checkpoint_frames": 100, "wal_limit_bytes": LIMIT}

READER = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM items").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_program_reads(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a read transaction until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        yield process
        process.kill()


async def batch_ended(pool: AsyncConnectionPool) -> None:
    """Wait for the end of the batch: callers are answered before its checkpoint."""
    await pool.run_alone(lambda raw: raw.total_changes)


async def peak_of(pool: AsyncConnectionPool, *sizes: int) -> int:
    """The largest size of the log while rows of these sizes are committed one by one."""
    peak = 0
    for size in sizes:
        await pool.execute(INSERT, ("x" * size,))
        peak = max(peak, pool.stats()["wal_bytes"])
    return peak


@pytest.mark.parametrize(
    "sizes",
    [
        [10] * 400 + [1_000_000] * 20,
        [1_000_000] * 20 + [10] * 200 + [1_900_000] * 5,
        [10, 1_500_000] * 20,
        [50_000] * 200,
    ],
    ids=["small then large", "large then small", "in turns", "middling"],
)
async def test_the_log_is_bounded_whatever_the_sizes_of_commits(
    tmp_path: Path, sizes: list[int]
) -> None:
    async with open_pool(tmp_path / "engine.db", **SMALL) as pool:
        assert await peak_of(pool, *sizes) <= 2 * LIMIT
        assert pool.stats()["writer"]["checkpoints"] > 0


async def test_the_log_is_bounded_beside_many_short_reads(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", readers=4, **SMALL) as pool:
        ended = asyncio.Event()

        async def read() -> None:
            while not ended.is_set():
                await pool.fetch_all("SELECT sum(length(body)) FROM parts")

        reading = [asyncio.create_task(read()) for _ in range(8)]
        peak = await peak_of(pool, *[10] * 200, *[500_000] * 12)
        ended.set()
        await asyncio.gather(*reading)
        assert peak <= 2 * LIMIT


async def test_a_large_log_from_before_the_start_is_copied_after_the_first_commit(
    tmp_path: Path,
) -> None:
    old, path = tmp_path / "old.db", tmp_path / "engine.db"
    async with open_pool(old, checkpoint_frames=0) as pool:
        await peak_of(pool, *[500_000] * 5)
        # The same files as after a SIGKILL.
        shutil.copyfile(old, path)
        shutil.copyfile(f"{old}-wal", f"{path}-wal")
    async with open_pool(path, **SMALL) as pool:
        assert pool.stats()["wal_bytes"] > LIMIT
        await pool.run_unit(adding(pool, "first"))
        await batch_ended(pool)
        assert pool.stats()["writer"]["checkpoints"] == 1
        assert pool.stats()["wal_bytes"] == 0


async def test_a_read_of_our_own_that_takes_long_gives_way_to_a_log_past_its_limit(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path / "engine.db", evict_seconds=0.05, **SMALL) as pool:
        await pool.run_unit(adding(pool, "one"))
        reading = asyncio.create_task(pool.fetch_all(HELD))
        while not pool.readers.is_reading():
            await asyncio.sleep(0)
        peak = await peak_of(pool, *[500_000] * 8)
        with pytest.raises(DatabaseBusy):
            await asyncio.wait_for(reading, LONG)
        await batch_ended(pool)
        assert peak <= 2 * LIMIT
        assert pool.stats()["wal_bytes"] <= LIMIT
        assert pool.stats()["wal_pinned"] is False


async def test_a_long_read_goes_on_while_the_log_is_below_its_limit(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", evict_seconds=0.01, **SMALL) as pool:
        await pool.run_unit(adding(pool, "one"))
        reading = asyncio.create_task(pool.fetch_all(HELD))
        await peak_of(pool, *[100_000] * 10)
        await batch_ended(pool)
        assert not reading.done()
    with pytest.raises(DatabaseBusy):
        await reading


async def test_another_program_that_keeps_the_log_is_told_once_and_again_as_it_grows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "RETRY_SECONDS", 0)
    path = tmp_path / "engine.db"

    def told() -> list[str]:
        texts = [record.getMessage() for record in caplog.records]
        return [text for text in texts if "can't be emptied" in text]

    async with open_pool(path, **SMALL) as pool:
        with another_program_reads(path) as process:
            await peak_of(pool, *[500_000] * 6)
            await batch_ended(pool)
            assert len(told()) == 1
            # The warning names the process if the system tells which one it is.
            assert f"process {process.pid}" in told()[0]
            assert pool.stats()["wal_pinned"] is True
            await peak_of(pool, *[500_000] * 6)
            await batch_ended(pool)
            assert len(told()) == 2
            process.kill()
            process.wait(LONG)
        # The check that runs every second notices it, without a further write.
        await pool.look_at_files()
        await batch_ended(pool)
        assert pool.stats()["wal_pinned"] is False
        assert pool.stats()["wal_bytes"] == 0
        assert len(told()) == 2


async def test_the_log_of_a_database_behind_a_link_is_bounded(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    make_database(elsewhere / "other.db")
    link = tmp_path / "engine.db"
    link.symlink_to(elsewhere / "other.db")
    assert ConnectionConfig(link).wal_path == elsewhere / "other.db-wal"
    async with open_pool(link, **SMALL) as pool:
        assert 0 < await peak_of(pool, *[500_000] * 20) <= 2 * LIMIT
