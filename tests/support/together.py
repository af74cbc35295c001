"""Units of work that wait at the same time, and may run as one."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from backend.services.database_service import DatabaseService

T = TypeVar("T")


async def at_once(service: DatabaseService, *works: Awaitable[T]) -> list[T | BaseException]:
    """The answers of units that wait at the same time."""
    queue = service.db_manager.async_pool.writer.queue
    tasks = []
    async with service.transaction():
        for work in works:
            tasks.append(asyncio.ensure_future(work))
            while len(queue) < len(tasks):
                await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


def together(service: DatabaseService) -> int:
    """How many units have run as one with others so far."""
    return service.db_manager.async_pool.writer.stats.units_together
