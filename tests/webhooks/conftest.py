"""Who calls, and a webhook to call."""

import httpx
import pytest

from tests.support.webhooks import make_webhook


@pytest.fixture
def sender(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client without a token, as GitHub is one."""
    return stranger


@pytest.fixture
async def webhook_id(client: httpx.AsyncClient) -> int:
    """A webhook that takes deliveries."""
    return int((await make_webhook(client))["id"])
