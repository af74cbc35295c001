"""A server, and clients that wait."""

from collections.abc import AsyncIterator

import httpx
import pytest

from config.settings import Settings
from tests.support.clients import token_of_first_start
from tests.support.servers import RunningServer
from tests.waiting.waiting import Clients, clients_of


@pytest.fixture
async def user(server: RunningServer, installed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token over real connections."""
    async with server.async_client(token_of_first_start(installed)) as client:
        yield client


@pytest.fixture
async def clients(server: RunningServer) -> AsyncIterator[Clients]:
    """Clients that wait."""
    async with clients_of(server.app) as clients:
        yield clients
