"""One process owns the file, and its id is in the lock."""

import asyncio
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from database.connection_manager import DatabaseManager
from database.errors import DatabaseUnavailable, ProcessLockHeld
from database.sqlite.connection import ConnectionConfig
from database.sqlite.process_lock import ProcessLock
from tests.database.engine import files_end_at, make_database

HOLDER = """
import asyncio, sys
from database.connection_manager import DatabaseManager

async def main():
    async with DatabaseManager(sys.argv[1]):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the database open until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that is not open."""
    make_database(tmp_path / "engine.db")
    return tmp_path / "engine.db"


async def test_a_second_process_is_told_who_has_the_file(path: Path) -> None:
    with another_process(path) as process:
        manager = DatabaseManager(path)
        with pytest.raises(
            ProcessLockHeld, match=f"process {process.pid} is using the data directory"
        ) as held:
            await manager.open()
        assert held.value.pid == process.pid
        assert not manager.async_pool.is_open
        assert manager.process_lock.holder() == process.pid
        # Its synchronous half can only read.
        assert manager.execute_query("SELECT * FROM items") == []
        with pytest.raises(ProcessLockHeld):
            manager.execute_command("DELETE FROM items")
        await manager.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_the_lock_ends_with_its_process(path: Path, end: signal.Signals) -> None:
    with another_process(path) as process:
        process.send_signal(end)
        await asyncio.to_thread(process.wait)
    assert ProcessLock(path).holder() is None
    async with DatabaseManager(path) as manager:
        assert await manager.async_pool.fetch_all("SELECT * FROM items") == []


async def test_the_lock_is_free_after_an_orderly_end(path: Path) -> None:
    with another_process(path) as process:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
    async with DatabaseManager(path):
        pass


async def test_a_second_manager_in_this_process_is_refused(path: Path) -> None:
    async with DatabaseManager(path) as first:
        second = DatabaseManager(path)
        with pytest.raises(ProcessLockHeld, match="this process") as held:
            await second.open()
        assert held.value.pid == os.getpid()
        with pytest.raises(ProcessLockHeld):
            second.execute_command("DELETE FROM items")
        await second.close()
        # The refused manager has not released the first one's lock.
        assert first.execute_command("INSERT INTO items (name) VALUES ('a')") == 1
        with pytest.raises(ProcessLockHeld):
            DatabaseManager(path).process_lock.acquire()
    async with second:
        pass


async def test_writing_through_the_synchronous_half_takes_the_lock(path: Path) -> None:
    manager = DatabaseManager(path)
    manager.execute_query("SELECT * FROM items")
    assert ProcessLock(path).holder() is None
    manager.execute_command("DELETE FROM items")
    assert ProcessLock(path).holder() == os.getpid()
    await manager.close()
    assert ProcessLock(path).holder() is None


async def test_a_failed_open_gives_the_lock_back(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    manager = DatabaseManager(path)
    with pytest.raises(DatabaseUnavailable):
        await manager.open()
    assert ProcessLock(path).holder() is None


def test_taking_and_releasing_twice_is_harmless(path: Path) -> None:
    lock = ProcessLock(path)
    lock.acquire()
    lock.acquire()
    assert lock.holder() is None
    lock.release()
    lock.release()
    assert ProcessLock(path).holder() is None


def test_asking_for_the_holder_takes_the_lock_from_no_process(path: Path) -> None:
    lock = ProcessLock(path)
    lock.acquire()
    lock.release()
    descriptor = os.open(lock.path, os.O_RDONLY)
    try:
        # As `holder()` does. It takes longer here, but less time than `acquire` waits.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        timer = threading.Timer(0.02, lambda: fcntl.flock(descriptor, fcntl.LOCK_UN))
        timer.start()
        lock.acquire()
        timer.join()
    finally:
        os.close(descriptor)
    lock.release()


def test_an_unreleased_lock_ends_with_its_object(path: Path) -> None:
    lock = ProcessLock(path)
    lock.acquire()
    del lock
    gc.collect()
    assert ProcessLock(path).holder() is None


def test_a_pid_that_can_not_be_read_is_no_pid(path: Path) -> None:
    holder = ProcessLock(path)
    holder.acquire()
    holder.path.write_text("")
    with pytest.raises(ProcessLockHeld, match="another process") as held:
        ProcessLock(path).acquire()
    assert held.value.pid is None
    assert ProcessLock(path).holder() == 0
    holder.release()


def test_a_full_disk_is_told_and_the_lock_is_free_again(path: Path) -> None:
    lock = ProcessLock(path)
    with files_end_at(0), pytest.raises(DatabaseUnavailable, match="can't be written"):
        lock.acquire()
    assert lock.holder() is None
    ProcessLock(path).acquire()


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "nowhere" / "engine.db")
    assert lock.holder() is None
    with pytest.raises(DatabaseUnavailable, match="can't be written"):
        lock.acquire()


def test_a_name_that_can_not_be_asked_about_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="can't be read"):
        ProcessLock(tmp_path / ("x" * 300)).holder()


def test_a_file_that_can_not_be_locked_is_told(tmp_path: Path) -> None:
    # A lock on a directory in the file's place fails as well.
    lock = ProcessLock(tmp_path / "engine.db")
    lock.path.mkdir()
    with pytest.raises(DatabaseUnavailable):
        lock.acquire()


async def test_the_configuration_may_be_a_path(path: Path) -> None:
    assert DatabaseManager(str(path)).config == ConnectionConfig(path)
