"""A pool over a small database, and both event loops for the tests of the engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.alike import Adding
from tests.database.engine import Written, open_pool

ON_BOTH_LOOPS = {"test_units.py", "test_waiting.py", "test_interactive.py", "test_readers.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's signature
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The engine must behave the same on the loop that serves and on the standard one."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.SelectorEventLoop
    }
    if item.path.name in ON_BOTH_LOOPS:
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[AsyncConnectionPool]:
    """A pool of two readers, with all waiting writes in one batch."""
    async with open_pool(tmp_path / "engine.db", readers=2, batch_seconds=60) as pool:
        yield pool


@pytest.fixture
def items(pool: AsyncConnectionPool) -> Adding:
    """Adds items to the pool's database, and entries beside them."""
    pool.journal.write_entries = Written()
    return Adding(pool)
