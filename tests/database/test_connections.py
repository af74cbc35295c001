"""The settings of every connection, what we rely on in the driver, and reading without a change to
the files."""

import ast
import asyncio
import contextlib
import logging
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

import database
from database.connection_manager import DatabaseManager
from database.errors import (
    DatabaseClosed,
    DatabaseConfigurationError,
    DatabaseReadOnly,
    DatabaseUnavailable,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig, HopConnection, open_connection
from tests.database.engine import (
    ENDLESS,
    LONG,
    Gate,
    adding,
    holding,
    make_database,
    names,
    open_pool,
    outcomes,
    stored_names,
)

SETTINGS = {
    "busy_timeout": 5000,
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "secure_delete": 2,
    "temp_store": 2,
    "cache_size": -8192,
    "wal_autocheckpoint": 0,
}
READING = {"query_only": 1, "cache_size": -2048}


def settings_of(raw: sqlite3.Connection) -> dict[str, object]:
    """This connection's value of each of `SETTINGS`, and of `query_only`."""
    found = {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in SETTINGS}
    return {**found, "query_only": raw.execute("PRAGMA query_only").fetchone()[0]}


async def test_every_connection_has_every_setting(tmp_path: Path) -> None:
    make_database(tmp_path / "engine.db")
    async with DatabaseManager(tmp_path / "engine.db") as manager:
        pool = manager.async_pool
        assert await pool.run_alone(settings_of) == {**SETTINGS, "query_only": 0}
        for reader in list(pool.readers._all):
            assert await reader.run(settings_of) == {**SETTINGS, **READING}
        with manager.sync_pool.connection() as connection:
            assert settings_of(connection) == {**SETTINGS, "query_only": 0}
            assert connection.isolation_level is None
        with manager.sync_pool.connection(read_only=True) as connection:
            assert settings_of(connection) == {**SETTINGS, **READING}


def test_a_setting_that_does_not_take_effect_stops_the_start(tmp_path: Path) -> None:
    # SQLite does not accept a page cache of this size, and only a query shows that.
    with pytest.raises(DatabaseConfigurationError, match="cache_size"):
        open_connection(ConnectionConfig(tmp_path / "engine.db", cache_kib=2**40))


async def test_a_pool_opens_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    path.write_bytes(b"no database" * 1000)
    pool = AsyncConnectionPool(ConnectionConfig(path))
    with pytest.raises(DatabaseUnavailable):
        await pool.open()
    assert not pool.is_open
    path.unlink()
    make_database(path)
    await pool.open()
    assert await names(pool) == []
    await pool.close()


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Inside the block only `count` more files can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


async def test_a_pool_that_runs_out_of_descriptors_closes_what_it_had_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "engine.db"
    pool = AsyncConnectionPool(make_database(path))
    before = set(threading.enumerate())
    # Enough for the writer's three files, but not for all of the first reader's.
    with descriptors_left(4), pytest.raises(DatabaseUnavailable):
        await pool.open()
    assert not pool.is_open
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, LONG)
        assert not thread.is_alive()
    await pool.open()
    assert await names(pool) == []
    await pool.close()


async def test_a_new_database_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    before = os.umask(0)
    try:
        async with open_pool(path) as pool:
            await pool.run_unit(adding(pool, "one"))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"engine.db": 0o600, "engine.db-wal": 0o600, "engine.db-shm": 0o600}


async def test_a_path_with_the_signs_of_a_uri_is_that_path(tmp_path: Path) -> None:
    path = tmp_path / "what? 100% #1.db"
    async with open_pool(path) as pool:
        await pool.run_unit(adding(pool, "one"))
    assert stored_names(path) == ["one"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_executescript_is_used_nowhere() -> None:
    # It commits an open transaction before it begins.
    root = Path(next(iter(database.__path__))).parent
    for package in ("backend", "config", "database"):
        for file in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                named = node.attr if isinstance(node, ast.Attribute) else None
                assert named != "executescript", f"{file}:{getattr(node, 'lineno', 0)}"


LEAK = """
import asyncio, sys
from pathlib import Path
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig

async def main():
    pool = AsyncConnectionPool(ConnectionConfig(Path(sys.argv[1]), readers=2))
    await pool.open()
    await pool.execute("INSERT INTO items (name) VALUES ('kept')")
    if sys.argv[2] == "busy":
        asyncio.ensure_future(pool.fetch_all(sys.argv[3]))
        await pool.fetch_all("SELECT 1")
    print("written", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_an_unclosed_pool_does_not_keep_the_process(tmp_path: Path, state: str) -> None:
    path = tmp_path / "engine.db"
    make_database(path)
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", LEAK, str(path), state, ENDLESS],
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    assert run.stdout == b"written\n"
    assert stored_names(path) == ["kept"]


async def test_no_log_line_of_the_driver_shows_a_parameter(
    pool: AsyncConnectionPool, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cret-parameter"
    insert = "INSERT INTO items (name) VALUES (?)"

    async def unit() -> None:
        async with pool.transaction() as tx:
            await tx.execute(insert, (f"{secret}-unit",))

    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "aiosqlite"):
        await pool.execute(insert, (secret,))
        await outcomes([pool.execute(insert, (secret,))])
        await pool.execute_many(insert, [(f"{secret}-many",)])
        await pool.execute_returning(f"{insert} RETURNING name", (f"{secret}-returning",))
        await pool.fetch_all("SELECT * FROM items WHERE name = ?", (secret,))
        await pool.run_unit(unit)
        async with pool.transaction() as tx:
            await tx.execute(insert, (f"{secret}-interactive",))
            await tx.fetch_all("SELECT name FROM items WHERE name = ?", (secret,))
            await outcomes([tx.execute(insert, (secret,)), tx.execute(insert, (secret, secret))])
        await pool.close()
    assert any(record.name == "aiosqlite" for record in caplog.records)
    assert secret not in caplog.text


def test_the_driver_is_silent_unless_it_is_told_otherwise() -> None:
    assert logging.getLogger("aiosqlite").level == logging.WARNING


async def test_what_the_engine_relies_on_in_aiosqlite(tmp_path: Path) -> None:
    assert aiosqlite.__version__.startswith("0.22.")
    config = make_database(tmp_path / "engine.db")
    connection = HopConnection(config, read_only=False, name="hop")
    with pytest.raises(DatabaseClosed):
        await connection.run(lambda raw: raw.total_changes)
    connection.interrupt_statement()
    await connection.open()
    # An entry of its queue: a future or `None`, and the function to call.
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    connection._tx.put_nowait((done, lambda: 1))
    assert await done == 1
    assert isinstance(connection._connection, sqlite3.Connection)
    assert connection._conn is connection._connection
    assert connection._running
    assert connection._thread.name == "hop"
    assert connection._thread.daemon

    # In the order of the calls, on its one thread, even when callers were cancelled.
    order: list[int] = []
    gate = Gate()
    first = asyncio.create_task(connection.run(holding(gate)))
    await gate.reached()
    others: list[asyncio.Task[Any]] = [
        asyncio.create_task(connection.run(lambda _, n=n: order.append(n)))  # type: ignore[misc]
        for n in range(3)
    ]
    await asyncio.sleep(0)
    first.cancel()
    others[1].cancel()
    gate.open()
    await asyncio.wait([first, *others])
    assert await connection.run(lambda _: order.copy()) == [0, 1, 2]
    assert first.cancelled()
    assert others[1].cancelled()

    def fails(_: sqlite3.Connection) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await connection.run(fails)
    await connection.close()
    assert vars(connection)["_connection"] is None
    assert vars(connection)["_running"] is False
    await asyncio.to_thread(connection._thread.join, LONG)
    assert not connection._thread.is_alive()
    with pytest.raises(DatabaseClosed):
        await connection.run(lambda raw: raw.total_changes)


async def test_a_look_changes_nothing_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    make_database(path)
    async with DatabaseManager(path) as manager:
        owner = manager.async_pool
        await owner.run_unit(adding(owner, "one"))
        look = DatabaseManager(ConnectionConfig(path, readers=1, read_only=True))
        await look.open()
        assert await names(look.async_pool) == ["one"]
        await owner.run_unit(adding(owner, "two"))
        assert await names(look.async_pool) == ["one", "two"]
        with pytest.raises(DatabaseReadOnly):
            await look.async_pool.run_unit(adding(look.async_pool, "three"))
        with pytest.raises(DatabaseReadOnly):
            await look.async_pool.execute("DELETE FROM items")
        with pytest.raises(DatabaseReadOnly):
            look.execute_command("DELETE FROM items")
        assert look.execute_query("SELECT count(*) AS n FROM items") == [{"n": 2}]
        await look.close()
        await owner.run_unit(adding(owner, "four"))
        assert await names(owner) == ["four", "one", "two"]


async def test_a_look_makes_no_database_where_there_is_none(tmp_path: Path) -> None:
    look = DatabaseManager(ConnectionConfig(tmp_path / "none.db", read_only=True))
    with pytest.raises(DatabaseUnavailable):
        await look.open()
    with pytest.raises(DatabaseUnavailable):
        look.execute_query("SELECT 1")
    await look.close()
    assert list(tmp_path.iterdir()) == []
