"""Units that gather rows, and functions that write what was gathered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from database.engine import Executor, Row, Transaction, WriteEntries
from database.sqlite.async_pool import AsyncConnectionPool

ADD = "INSERT INTO items (name) VALUES (?)"
Step = Callable[[Transaction], Awaitable[object]]


class Store:
    """Writes gathered rows as items, and remembers which came together."""

    def __init__(self, sql: str = ADD) -> None:
        self.sql = sql
        self.writes: list[list[str]] = []

    async def __call__(self, executor: Executor, rows: Sequence[str]) -> None:
        self.writes.append(list(rows))
        await executor.execute_many(self.sql, [(row,) for row in rows])


class Gathering:
    """A unit that gathers rows, and then goes on in the same block, if there is a `step`."""

    def __init__(
        self, pool: AsyncConnectionPool, write: WriteEntries, *rows: str, step: Step | None = None
    ) -> None:
        self.pool = pool
        self.write = write
        self.rows = rows
        self.step = step
        self.runs = 0

    async def __call__(self) -> object:
        self.runs += 1
        async with self.pool.transaction() as tx:
            await tx.gather(self.write, self.rows)
            return await self.step(tx) if self.step is not None else None


class GatheringToo(Gathering):
    """A unit of another kind."""


class Reading:
    """A unit that reads the names of all items, in the order of their ids."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.pool = pool

    async def __call__(self) -> list[str]:
        async with self.pool.transaction() as tx:
            return await seen(tx)


async def seen(executor: Executor) -> list[str]:
    """The names of all items, in the order of their ids."""
    return texts(await executor.fetch_all("SELECT name FROM items ORDER BY id"))


def texts(rows: Sequence[Row]) -> list[str]:
    """The first column of the rows."""
    return [row[0] for row in rows]


async def fail(_: Transaction) -> None:
    """Fail after the unit has gathered, and before it has changed anything."""
    raise KeyError("early")


async def read_and_fail(tx: Transaction) -> None:
    """Fail after the gathered rows were written, because the unit has read."""
    await seen(tx)
    raise KeyError("late")


async def wait(_: Transaction) -> None:
    """Await what a unit may not."""
    await asyncio.sleep(0)


def all_of(*steps: Step) -> Step:
    """One step after the other. The answer is that of the last one."""

    async def step(tx: Transaction) -> Any:
        answer = None
        for each in steps:
            answer = await each(tx)
        return answer

    return step
