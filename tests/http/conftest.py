"""Callers of every kind, and the log as a file would have it."""

import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from backend.main import create_app
from backend.observability.log import configure_logging
from config.settings import Settings
from tests.http.heads import ORIGIN
from tests.support.servers import RunningServer


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


@pytest.fixture(scope="module")
def shared(
    database_template: Path, tmp_path_factory: pytest.TempPathFactory, master_keys: str
) -> Iterator[RunningServer]:
    """A server for the tests of a module that only read, with a front end of another origin."""
    directory = tmp_path_factory.mktemp("heads")
    (directory / database_template.name).write_bytes(database_template.read_bytes())
    settings = Settings(
        _env_file=None,
        environment="testing",
        data_dir=directory,
        master_keys=SecretStr(master_keys),
        cors_origins=(ORIGIN,),
    )
    with RunningServer(create_app(settings)) as server:
        yield server
