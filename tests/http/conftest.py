"""Callers of every kind."""

import httpx
import pytest


@pytest.fixture
def admin_token(client: httpx.AsyncClient) -> str:
    """The token that `client` sends."""
    return client.headers["Authorization"].removeprefix("Bearer ")
