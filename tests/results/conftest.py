"""A run to upload to, and callers with less than all rights."""

import httpx
import pytest

from tests.results.support import make_run
from tests.webhooks import conftest as of_webhooks

as_token = of_webhooks.as_token


@pytest.fixture
async def run_id(client: httpx.AsyncClient) -> int:
    """A run without results."""
    return int((await make_run(client))["id"])
