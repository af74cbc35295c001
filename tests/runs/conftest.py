"""The API over a database of the test's own, with a clock that the test sets."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.api import Api, Clock, open_api


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
async def api(database_path: Path, clock: Clock) -> AsyncIterator[Api]:
    """The API with one project, whose id is 1. Nothing runs in the background."""
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        yield api


@pytest.fixture
def another_path(database_template: Path, tmp_path: Path) -> Path:
    """A second migrated database, closed."""
    path = tmp_path / "another" / database_template.name
    path.parent.mkdir()
    shutil.copyfile(database_template, path)
    return path


@pytest.fixture
def walker() -> Iterator[asyncio.Runner]:
    """An event loop for the examples of a property, which are no coroutines themselves."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def walk_api(walker: asyncio.Runner, database_path: Path) -> Iterator[Api]:
    """The API on the loop of `walker`, with one project."""
    stack = AsyncExitStack()

    async def begin() -> Api:
        api = await stack.enter_async_context(open_api(database_path, Clock()))
        await api.new_project("payments")
        return api

    yield walker.run(begin())
    walker.run(stack.aclose())
