"""A thousand callers that are cancelled at any moment."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from database.errors import DatabaseError
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import assert_at_rest, names, open_pool

TASKS = 1000
AT_ONCE = 50


class Crowd:
    """Tasks that read and write pairs of items, with a record of their answers."""

    def __init__(self, pool: AsyncConnectionPool, seed: int) -> None:
        self.pool = pool
        self.random = random.Random(seed)  # noqa: S311 - for repetition, not for secrets
        self.answered: set[int] = set()
        self.cancelled = 0

    async def unit(self, number: int) -> None:
        async def work() -> None:
            async with self.pool.transaction() as tx:
                await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{number}-a",))
                await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{number}-b",))

        await self.pool.run_unit(work)
        self.answered.add(number)

    async def interactive(self, number: int) -> None:
        async with self.pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{number}-a",))
            await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{number}-b",))
        self.answered.add(number)

    async def many(self, number: int) -> None:
        rows = [(f"{number}-a",), (f"{number}-b",)]
        await self.pool.execute_many("INSERT INTO items (name) VALUES (?)", rows)
        self.answered.add(number)

    async def failing(self, number: int) -> None:
        async def work() -> None:
            async with self.pool.transaction() as tx:
                await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{number}-a",))
                await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{number}-a",))

        await self.pool.run_unit(work)

    async def read(self, number: int) -> None:
        await self.pool.fetch_all("SELECT * FROM items WHERE name LIKE ?", (f"{number}%",))

    async def snapshot(self, number: int) -> None:
        async def work() -> None:
            async with self.pool.transaction() as tx:
                await tx.fetch_one("SELECT count(*) FROM items WHERE id > ?", (number,))
                await tx.fetch_one("SELECT count(*) FROM items")

        await self.pool.run_unit(work, read_only=True)

    async def one(self, number: int) -> None:
        """One task, often cancelled before it could finish."""
        kinds: list[Callable[[int], Coroutine[Any, Any, None]]] = [
            *(self.unit, self.unit, self.many, self.failing),
            *(self.read, self.read, self.snapshot, self.interactive),
        ]
        task = asyncio.create_task(self.random.choice(kinds)(number))
        if self.random.random() < 0.7:
            await asyncio.sleep(self.random.random() * 0.04)
        else:
            for _ in range(self.random.randrange(12)):
                await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self.cancelled += 1
        except DatabaseError:
            # Only the tasks that fail on purpose, unless they were cancelled before.
            assert task.get_coro().__name__ == "failing"  # type: ignore[union-attr]

    async def run(self) -> None:
        numbers = iter(range(TASKS))

        async def worker() -> None:
            for number in numbers:
                await self.one(number)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


@pytest.mark.parametrize(
    "loop_factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_thousand_random_cancellations_leave_nothing_open(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scenario() -> None:
        async with open_pool(tmp_path / "engine.db", checkpoint_frames=50) as pool:
            crowd = Crowd(pool, seed=20260131)
            await crowd.run()
            await assert_at_rest(pool)
            stored = set(await names(pool))
            firsts = {name.removesuffix("-a") for name in stored if name.endswith("-a")}
            seconds = {name.removesuffix("-b") for name in stored if name.endswith("-b")}
            assert firsts == seconds
            assert {str(number) for number in crowd.answered} <= firsts
            assert crowd.cancelled > TASKS / 10
            assert crowd.answered
            assert await pool.writer.checkpoint()
            assert pool.stats()["wal_bytes"] == 0
            await assert_at_rest(pool)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())
