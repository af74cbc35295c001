"""A client without a token, and a webhook for deliveries."""

import httpx
import pytest

from tests.support.webhooks import make_webhook


@pytest.fixture
def sender(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client without a token, like GitHub."""
    return stranger


@pytest.fixture
async def webhook_id(client: httpx.AsyncClient) -> int:
    """A webhook that accepts deliveries."""
    return int((await make_webhook(client))["id"])
