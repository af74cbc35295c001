"""Both clients of a real server."""

import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import strongroom
from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from strongroom import AsyncClient
from strongroom.models import Project
from tests.client.awaited import Awaited
from tests.support.clients import token_of_first_start
from tests.support.servers import RunningServer

_numbers = itertools.count(1)
Connect = Callable[..., AsyncClient]
"""Makes a client of this URL; the token is by default the admin's."""


@pytest.fixture(params=["asynchronous", "synchronous"])
def kind(request: pytest.FixtureRequest) -> Any:
    """The class of the clients of a test."""
    return strongroom.AsyncClient if request.param == "asynchronous" else Awaited


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, installation_template: Path, master_keys: str
) -> Iterator[RunningServer]:
    """The server of a module's tests: they use projects of their own."""
    directory = tmp_path_factory.mktemp("served")
    for file in installation_template.iterdir():
        shutil.copy(file, directory)
    settings = Settings(
        _env_file=None,
        environment="testing",
        data_dir=directory,
        master_keys=SecretStr(master_keys),
        db_readers=1,
    )
    with RunningServer(create_app(settings)) as running:
        yield running


@pytest.fixture
def token(service: RunningServer) -> str:
    """The admin's token."""
    return token_of_first_start(state_of(service.app).settings)


@pytest.fixture
async def connect(kind: Any, token: str) -> AsyncIterator[Connect]:
    """Makes clients, which are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(url: str, own: str | None = None, **options: Any) -> AsyncClient:
            made: AsyncClient = kind(url, token if own is None else own, **options)
            stack.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
def python(connect: Connect, service: RunningServer) -> AsyncClient:
    """A client of `service`."""
    return connect(service.url)


async def new_project(client: AsyncClient, **fields: Any) -> Project:
    """Make a project with a repository of its own."""
    name = f"bakery-{next(_numbers)}"
    return await client.projects.create(name=name, github_owner="acme", github_repo=name, **fields)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets clients try again without a pause, because these tests break hundreds of requests."""
    monkeypatch.setattr("strongroom._retrying.FIRST_SECONDS", 0.0)
