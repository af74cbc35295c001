"""Fixtures for several families: clients of `application`, the API with a clock that the test sets,
and the log."""

import asyncio
import io
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI

from backend.http.state import state_of
from backend.observability.log import configure_logging
from tests.support.api import Api, open_api
from tests.support.clients import (
    AsToken,
    Caller,
    client_of,
    new_token,
    token_of_first_start,
)
from tests.support.clocks import SetClock


@pytest.fixture(scope="module")
async def shared_client(shared_application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `shared_application`, for what all tests with the mark `shared` find there."""
    token = token_of_first_start(state_of(shared_application).settings)
    async with client_of(shared_application, token) as client:
        yield client


@pytest.fixture
async def client(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `application` with the admin's token."""
    token = token_of_first_start(state_of(application).settings)
    async with client_of(application, token) as client:
        yield client


@pytest.fixture
async def stranger(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with client_of(application) as client:
        yield client


@pytest.fixture
def caller(application: FastAPI) -> Caller:
    """Makes clients without a token, each at an address."""
    return lambda address: client_of(application, address=address)


@pytest.fixture
async def as_token(application: FastAPI, client: httpx.AsyncClient) -> AsyncIterator[AsToken]:
    """Makes clients whose tokens don't have all scopes."""
    async with AsyncExitStack() as stack:

        async def make(*scopes: str, project_ids: list[int] | None = None) -> httpx.AsyncClient:
            token = await new_token(client, *scopes, project_ids=project_ids)
            return await stack.enter_async_context(client_of(application, token))

        yield make


@pytest.fixture
def clock() -> SetClock:
    """A clock that stands still until the test moves it."""
    return SetClock()


@pytest.fixture
async def own_api(database_path: Path, clock: SetClock) -> AsyncIterator[Api]:
    """The test's API."""
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        yield api


@pytest.fixture(scope="module")
async def shared_api(
    database_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The API of all tests of the module that have the mark `shared`. Its clock stands still."""
    path = tmp_path_factory.mktemp("shared") / database_template.name
    shutil.copyfile(database_template, path)
    async with open_api(path, SetClock()) as api:
        await api.new_project("payments")
        yield api


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    """The API with one project, whose id is 1. No background work runs. See `application` about the
    mark `shared`; a test with it can't set the clock."""
    is_shared = request.node.get_closest_marker("shared") is not None
    api = request.getfixturevalue("shared_api" if is_shared else "own_api")
    assert isinstance(api, Api)
    return api


@pytest.fixture
def walker() -> Iterator[asyncio.Runner]:
    """An event loop for property tests, which can't be coroutines."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def walk_api(walker: asyncio.Runner, database_path: Path) -> Iterator[Api]:
    """The API on the loop of `walker`."""
    stack = AsyncExitStack()
    yield walker.run(stack.enter_async_context(open_api(database_path, SetClock())))
    walker.run(stack.aclose())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every log line of the test, from DEBUG up. The process's logging is restored afterwards."""
    root, of_client = logging.getLogger(), logging.getLogger("httpx")
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream)
    # The tests' HTTP client is not part of the product.
    of_client.propagate = False
    yield stream
    of_client.propagate = True
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").propagate = True
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()
