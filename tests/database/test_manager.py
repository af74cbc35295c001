"""The manager: opening, closing, look-up, and health."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from database.connection_manager import (
    AsyncConnectionPool,
    ConnectionPool,
    DatabaseManager,
    get_database_manager,
)
from database.errors import DatabaseBusy, DatabaseClosed, DatabaseUnavailable
from database.sqlite.connection import ConnectionConfig
from database.sqlite.process_lock import ProcessLock
from tests.database.engine import Gate, adding, adding_at, make_database, names, stored_names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that is not open."""
    make_database(tmp_path / "engine.db")
    return tmp_path / "engine.db"


async def test_both_halves_see_one_database(path: Path) -> None:
    async with DatabaseManager(path) as manager:
        assert isinstance(manager.sync_pool, ConnectionPool)
        assert isinstance(manager.async_pool, AsyncConnectionPool)
        insert = "INSERT INTO items (name) VALUES (?)"
        assert await manager.async_execute_command(insert, ("async",)) == 1
        assert await asyncio.to_thread(manager.execute_command, insert, ("sync",)) == 1
        async with manager.async_transaction() as tx:
            await tx.execute(insert, ("transaction",))
        expected = [{"name": "async"}, {"name": "sync"}, {"name": "transaction"}]
        query = "SELECT name FROM items ORDER BY name"
        assert await manager.async_execute_query(query) == expected
        assert manager.execute_query(query) == expected
        update = "UPDATE items SET amount = 1 WHERE name = ?"
        assert await manager.async_execute_command(update, ("absent",)) == 0


async def test_a_manager_can_be_opened_again(path: Path) -> None:
    manager = DatabaseManager(path)
    for name in ("first", "second"):
        async with manager:
            await manager.async_pool.run_unit(adding(manager.async_pool, name))
            assert manager.execute_command("UPDATE items SET amount = 1") >= 1
        with pytest.raises(DatabaseClosed):
            await manager.async_execute_query("SELECT 1")
        with pytest.raises(DatabaseClosed):
            manager.execute_query("SELECT 1")
    assert stored_names(path) == ["first", "second"]


async def test_opening_twice_and_closing_twice_is_harmless(path: Path) -> None:
    manager = DatabaseManager(path)
    await manager.open()
    await manager.open()
    assert await names(manager.async_pool) == []
    await manager.close()
    await manager.close()
    assert ProcessLock(path).holder() is None


async def test_a_clean_close_leaves_one_file_and_the_lock(path: Path) -> None:
    async with DatabaseManager(path) as manager:
        await manager.async_pool.run_unit(adding(manager.async_pool, "one"))
        manager.execute_query("SELECT * FROM items")
    assert sorted(file.name for file in path.parent.iterdir()) == ["engine.db", "engine.db.lock"]
    assert stored_names(path) == ["one"]


async def test_the_lock_is_kept_until_the_last_work_is_done(path: Path) -> None:
    manager = DatabaseManager(path)
    await manager.open()
    gate = Gate()
    running = asyncio.create_task(
        manager.async_pool.run_unit(adding_at(manager.async_pool, gate, "running"))
    )
    await gate.reached()
    closing = [asyncio.create_task(manager.close()) for _ in range(2)]
    await asyncio.sleep(0.01)
    closing[0].cancel()
    await asyncio.sleep(0.01)
    assert ProcessLock(path).holder() is not None
    gate.open()
    await asyncio.wait(closing)
    await running
    assert closing[0].cancelled()
    assert ProcessLock(path).holder() is None
    assert stored_names(path) == ["running"]


async def test_its_health_is_that_of_both_pools(path: Path) -> None:
    manager = DatabaseManager(ConnectionConfig(path, queue_timeout=0.05))
    health = await manager.health_check()
    assert health["healthy"] is False
    assert "not open" in health["detail"]
    async with manager:
        healthy = {"healthy": True, "read": True, "write": True, "detail": None}
        assert await manager.health_check() == healthy
        async with manager.async_transaction():
            health = await manager.health_check()
            assert (health["healthy"], health["read"], health["write"]) == (False, True, False)
            assert health["detail"]
        assert await manager.health_check() == healthy


async def test_a_synchronous_write_inside_an_interactive_transaction_is_refused(
    path: Path,
) -> None:
    # On the event loop it would wait for a transaction that only the event loop can end.
    async with DatabaseManager(ConnectionConfig(path, queue_timeout=0.05)) as manager:
        async with manager.async_transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('a')")
            with pytest.raises(DatabaseBusy):
                manager.execute_command("INSERT INTO items (name) VALUES ('b')")
        assert await names(manager.async_pool) == ["a"]


async def test_its_stats_are_those_of_both_pools(path: Path) -> None:
    manager = DatabaseManager(path)
    assert manager.get_stats()["async"] == {"open": False}
    async with manager:
        with manager.sync_pool.connection():
            stats = manager.get_stats()
        assert stats["path"] == str(path)
        assert stats["sqlite_version"] == sqlite3.sqlite_version
        assert stats["sync"] == {"in_use": 1}
        assert stats["async"] == manager.async_pool.stats()


async def test_the_open_manager_is_found_and_no_other(path: Path, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="0 database managers"):
        get_database_manager()
    make_database(tmp_path / "other.db")
    new = get_database_manager(path)
    assert new.config == ConnectionConfig(path)
    assert get_database_manager(new.config) is not new
    with pytest.raises(LookupError):
        get_database_manager()
    async with new:
        assert get_database_manager() is new
        async with DatabaseManager(tmp_path / "other.db") as other:
            with pytest.raises(LookupError, match="2 database managers"):
                get_database_manager()
            assert get_database_manager(path) is not new
            assert other is not new
        assert get_database_manager() is new
    with pytest.raises(LookupError):
        get_database_manager()


async def test_a_manager_that_could_not_open_is_not_found(tmp_path: Path) -> None:
    manager = DatabaseManager(tmp_path)
    with pytest.raises(DatabaseUnavailable):
        await manager.open()
    with pytest.raises(LookupError):
        get_database_manager()
