"""Units that run as one, and what a test needs to let them meet."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any

from database.engine import ALONE, Call, Transaction
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import LONG, Gate, assert_at_rest, outcomes, until_waiting

ADD = "INSERT INTO items (name, amount) VALUES (?, ?)"
caller: ContextVar[str] = ContextVar("caller", default="test")
Step = Callable[[Transaction, Sequence[Call]], Awaitable[object]]


class Adding:
    """Adds items, each in a unit, or several units at once. An item is a name and an amount."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.pool = pool
        self.together: list[list[str]] = []
        """The names that were added as one, also by attempts that failed."""
        self.alone: list[str] = []
        """The names that units of their own added, also by attempts that failed."""
        self.step: Step | None = None
        """What happens after the items were added as one."""
        self.leaves: set[str] = set()
        """The names that are left to units of their own."""
        self.result: Callable[[list[object]], list[object]] = list

    async def add(self, name: str, amount: int = 0) -> object:
        """The answer to adding the item: how it was added, and for whom."""

        async def work() -> object:
            self.alone.append(name)
            async with self.pool.transaction() as tx:
                await tx.append([name])
                await tx.execute(ADD, (name, amount))
            return "alone", caller.get()

        return await self.pool.run_unit(
            work, kind="add", together=self.add_all, arguments=(name, amount)
        )

    async def add_all(self, calls: Sequence[Call]) -> Sequence[object]:
        self.together.append([call.arguments[0] for call in calls])
        taken = [call for call in calls if call.arguments[0] not in self.leaves]
        async with self.pool.transaction() as tx:
            await tx.append([call.arguments[0] for call in taken])
            if taken:
                await tx.execute_many(ADD, [call.arguments for call in taken])
            if self.step is not None:
                await self.step(tx, calls)
        return self.result(
            [
                ("together", call.context.run(caller.get)) if call in taken else ALONE
                for call in calls
            ]
        )


def holding(gate: Gate) -> Callable[[], Coroutine[Any, Any, None]]:
    """A unit that changes nothing, and stops the writer at the gate."""

    async def work() -> None:
        gate.hold()

    return work


async def at_once(pool: AsyncConnectionPool, *works: Awaitable[Any]) -> list[Any]:
    """The answers of what waits in the queue while another unit runs."""
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(holding(gate)))
    await gate.reached()
    others: list[asyncio.Future[Any]] = []
    for count, work in enumerate(works, 1):
        others.append(asyncio.ensure_future(work))
        await until_waiting(pool, count)
    gate.open()
    _, *answers = await asyncio.wait_for(outcomes((first, *others)), LONG)
    await assert_at_rest(pool)
    return answers
