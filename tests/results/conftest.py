"""A run to upload to."""

import httpx
import pytest

from tests.results.support import make_run


@pytest.fixture
async def run_id(client: httpx.AsyncClient) -> int:
    """A run without results."""
    return int((await make_run(client))["id"])
