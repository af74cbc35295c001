"""Clients of an application without a network, and their tokens."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from fastapi import FastAPI

from backend.runtime import TOKEN_FILE
from backend.runtime.installation import Configuration

AsToken = Callable[..., Awaitable[httpx.AsyncClient]]
"""Makes a client whose token has these scopes, and is bound to `project_ids` if they are given."""
Caller = Callable[[str], httpx.AsyncClient]
"""Makes a client without a token at this address."""


def bearer(token: str) -> dict[str, str]:
    """The header with the token."""
    return {"Authorization": f"Bearer {token}"}


def token_of_first_start(settings: Configuration) -> str:
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
    """A client at this address. An unhandled exception becomes an answer, as for real clients,
    unless `raising` is true."""
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
