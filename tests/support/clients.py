"""Clients of an application, without a network between, and their tokens."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from fastapi import FastAPI

from backend.runtime import TOKEN_FILE
from config.settings import Settings

AsToken = Callable[..., Awaitable[httpx.AsyncClient]]
"""Makes a client with a token of these scopes, bound to `project_ids` if they are given."""
Caller = Callable[[str], httpx.AsyncClient]
"""Makes a client at an address, without a token."""


def bearer(token: str) -> dict[str, str]:
    """The header that has the token."""
    return {"Authorization": f"Bearer {token}"}


def token_of_first_start(settings: Settings) -> str:
    """The admin token that the first start on this data directory wrote."""
    return (settings.data_dir / TOKEN_FILE).read_text(encoding="ascii").strip()


def client_of(
    app: FastAPI,
    token: str | None = None,
    *,
    address: str = "127.0.0.1",
    base_url: str = "http://strongroom.test",
    raising: bool = False,
) -> httpx.AsyncClient:
    """A client at this address. What nobody handles is an answer, as clients see it, unless
    `raising` is said."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=raising, client=(address, 50_000)),
        base_url=base_url,
        headers=None if token is None else bearer(token),
    )


async def new_token(client: httpx.AsyncClient, *scopes: str, **fields: Any) -> str:
    """A new token with these scopes."""
    body = {"name": "t", "scopes": list(scopes), **fields}
    response = await client.post("/api/tokens", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["token"])
