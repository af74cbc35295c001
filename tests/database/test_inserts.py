"""The ids of inserted rows, as every kind of executor returns them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from database.connection_manager import DatabaseManager
from database.engine import Executor
from database.errors import IntegrityError

TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)"


def insert(names: list[str]) -> tuple[str, list[str], int]:
    marks = ", ".join(["(?)"] * len(names))
    return f"INSERT INTO things (name) VALUES {marks}", names, len(names)  # noqa: S608


async def check(db: Executor) -> None:
    """The rows have the returned ids, also after a gap."""
    assert list(await db.insert(*insert(["a"]))) == [1]
    assert list(await db.insert(*insert(["b", "c", "d"]))) == [2, 3, 4]
    await db.execute("DELETE FROM things WHERE id >= 3")
    ids = await db.insert(*insert([f"n{number}" for number in range(200)]))
    rows = await db.fetch_all("SELECT id FROM things WHERE name LIKE 'n%' ORDER BY id")
    assert list(ids) == [row["id"] for row in rows] == list(range(5, 205))
    names = await db.fetch_all("SELECT name FROM things WHERE id IN (5, 204) ORDER BY id")
    assert [row["name"] for row in names] == ["n0", "n199"]


@asynccontextmanager
async def pool(manager: DatabaseManager) -> AsyncIterator[Executor]:
    yield manager.async_pool


@pytest.mark.parametrize("opened", [pool, DatabaseManager.async_transaction])
async def test_an_insert_tells_the_ids_of_its_rows(
    manager: DatabaseManager,
    opened: Callable[[DatabaseManager], AbstractAsyncContextManager[Executor]],
) -> None:
    await manager.async_execute_command(TABLE)
    async with opened(manager) as db:
        await check(db)
        with pytest.raises(IntegrityError):
            await db.insert(*insert(["new", "a"]))


async def test_an_insert_of_a_unit_tells_the_ids_of_its_rows(manager: DatabaseManager) -> None:
    await manager.async_execute_command(TABLE)

    async def work() -> None:
        async with manager.async_pool.transaction() as tx:
            await check(tx)

    await manager.async_pool.run_unit(work)
