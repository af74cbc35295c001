"""The API over a database of the test's own, with a clock that the test sets."""

from collections.abc import AsyncIterator
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
