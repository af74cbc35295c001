"""The administrator's token, and a server for tests that only read."""

from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from backend.main import create_app
from config.settings import Settings
from tests.http.heads import ORIGIN
from tests.http.kept_world import World, open_world
from tests.support.servers import RunningServer


@pytest.fixture
def admin_token(client: httpx.AsyncClient) -> str:
    """The token that `client` sends."""
    return client.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture(scope="module")
def shared(
    database_template: Path, tmp_path_factory: pytest.TempPathFactory, master_keys: str
) -> Iterator[RunningServer]:
    """A server for the tests of a module that only read, with a front end on another origin."""
    directory = tmp_path_factory.mktemp("heads")
    (directory / database_template.name).write_bytes(database_template.read_bytes())
    settings = Settings(
        _env_file=None,
        environment="development",
        data_dir=directory,
        master_keys=SecretStr(master_keys),
        cors_origins=(ORIGIN,),
        db_readers=1,
    )
    with RunningServer(create_app(settings)) as server:
        yield server


@pytest.fixture(
    params=[
        {},
        {"auth": "off"},
        {"trusted_hosts": ("strongroom.test", "localhost"), "cors_origins": ()},
        {"trusted_proxies": (ip_network("127.0.0.0/8"),)},
        {"auth": "off", "trusted_proxies": (ip_network("127.0.0.0/8"),)},
    ],
    ids=["tokens", "off", "hosts", "proxies", "off and proxies"],
)
async def world(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[World]:
    """Two applications over one service, of which one keeps answers, in each configuration that
    makes a difference."""
    async with open_world(settings, **request.param) as world:
        yield world
