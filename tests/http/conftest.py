"""Callers of every kind, and the log as a file would have it."""

import io
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import structlog
from fastapi import FastAPI

from backend.observability.log import configure_logging


@pytest.fixture
async def stranger(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application, raise_app_exceptions=False),
        base_url="http://strongroom.test",
    ) as client:
        yield client


@pytest.fixture
def admin_token(client: httpx.AsyncClient) -> str:
    """The token that `client` sends."""
    return client.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every log line of the test, at DEBUG; the process has its logging back afterwards."""
    root, of_client = logging.getLogger(), logging.getLogger("httpx")
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream)
    # The client that the tests use is not of the product.
    of_client.propagate = False
    yield stream
    of_client.propagate = True
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").propagate = True
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()
