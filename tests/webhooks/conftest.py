"""Who calls, and a webhook to call."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI

from tests.http import conftest as over_http
from tests.support.webhooks import make_webhook

AsToken = Callable[..., Awaitable[httpx.AsyncClient]]
log = over_http.log


@pytest.fixture
async def sender(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, as GitHub is one."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application, raise_app_exceptions=False),
        base_url="http://strongroom.test",
    ) as client:
        yield client


@pytest.fixture
async def webhook_id(client: httpx.AsyncClient) -> int:
    """A webhook that takes deliveries."""
    return int((await make_webhook(client))["id"])


@pytest.fixture
async def as_token(application: FastAPI, client: httpx.AsyncClient) -> AsyncIterator[AsToken]:
    """Makes a client with a token of these scopes, bound to these projects."""
    made: list[httpx.AsyncClient] = []

    async def make(*scopes: str, project_ids: list[int] | None = None) -> httpx.AsyncClient:
        body = {"name": "t", "scopes": list(scopes), "project_ids": project_ids}
        response = await client.post("/api/tokens", json=body)
        assert response.status_code == 201, response.text
        other = httpx.AsyncClient(
            transport=httpx.ASGITransport(application),
            base_url="http://strongroom.test",
            headers={"Authorization": f"Bearer {response.json()['token']}"},
        )
        made.append(other)
        return other

    yield make
    for other in made:
        await other.aclose()
