"""A database belongs to the event loop that opened it, and refuses use on any other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest

from database.connection_manager import DatabaseManager
from database.engine import Executor
from database.errors import WrongEventLoop
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.process_lock import ProcessLock
from tests.database.engine import adding, assert_at_rest, make_database, names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that is not open."""
    make_database(tmp_path / "another.db")
    return tmp_path / "another.db"


def on_its_own_loop(use: Callable[[], Awaitable[object]]) -> None:
    """Run a coroutine on a new event loop."""

    async def do() -> None:
        await use()

    asyncio.run(do())


async def interactive(pool: AsyncConnectionPool) -> None:
    """A transaction of several hops."""
    async with pool.transaction() as tx:
        await tx.execute("INSERT INTO items (name) VALUES ('elsewhere')")


async def write_nothing(_: Executor, __: Sequence[Any]) -> None:
    """Write no rows."""


USES: dict[str, Callable[[AsyncConnectionPool], Awaitable[object]]] = {
    "fetch_all": lambda pool: pool.fetch_all("SELECT 1"),
    "fetch_one": lambda pool: pool.fetch_one("SELECT 1"),
    "execute": lambda pool: pool.execute("DELETE FROM items"),
    "execute_many": lambda pool: pool.execute_many("DELETE FROM items WHERE id = ?", [(1,)]),
    "insert": lambda pool: pool.insert("INSERT INTO items (name) VALUES (?)", ("a",), 1),
    "execute_returning": lambda pool: pool.execute_returning("DELETE FROM items RETURNING id"),
    "append": lambda pool: pool.append(["an entry"]),
    "gather": lambda pool: pool.gather(write_nothing, ["a row"]),
    "run_unit": lambda pool: pool.run_unit(adding(pool, "elsewhere")),
    "run_read": lambda pool: pool.run_read(lambda raw: raw.in_transaction),
    "run_alone": lambda pool: pool.run_alone(lambda raw: raw.in_transaction),
    "transaction": interactive,
    "fetch_within": lambda pool: pool.fetch_within("SELECT 1", (), 1000),
    "fetch_while": lambda pool: pool.fetch_while("SELECT 1", (), lambda _: False),
    "look_at_files": lambda pool: pool.look_at_files(),
    "open": lambda pool: pool.open(),
    "close": lambda pool: pool.close(),
}


def test_every_use_of_a_pool_is_known() -> None:
    found = {name for name, part in vars(AsyncConnectionPool).items() if iscoroutinefunction(part)}
    assert {name for name in found if not name.startswith("_")} | {"transaction"} == USES.keys()


@pytest.mark.parametrize("use", USES)
async def test_another_event_loop_is_refused_instead_of_answered_wrongly(
    pool: AsyncConnectionPool, use: str
) -> None:
    with pytest.raises(WrongEventLoop, match="event loop that opened it"):
        await asyncio.to_thread(on_its_own_loop, lambda: USES[use](pool))
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_another_event_loop_can_neither_open_nor_close_it(path: Path) -> None:
    async with DatabaseManager(path) as manager:
        for use in (manager.open, manager.close, lambda: manager.async_execute_query("SELECT 1")):
            with pytest.raises(WrongEventLoop):
                await asyncio.to_thread(on_its_own_loop, use)
        # It still holds the file's lock.
        assert ProcessLock(path).holder() is not None
        assert await names(manager.async_pool) == []


def test_what_an_ended_loop_left_open_is_used_by_no_other_and_can_be_closed(path: Path) -> None:
    manager = DatabaseManager(path)
    on_its_own_loop(manager.open)
    with pytest.raises(WrongEventLoop):
        on_its_own_loop(lambda: manager.async_execute_query("SELECT 1"))
    with pytest.raises(WrongEventLoop):
        on_its_own_loop(manager.open)
    on_its_own_loop(manager.close)
    assert ProcessLock(path).holder() is None
    on_its_own_loop(lambda: opened_and_closed(manager))


async def opened_and_closed(manager: DatabaseManager) -> None:
    """Open it, use it and close it on the same event loop."""
    async with manager:
        assert await names(manager.async_pool) == []
