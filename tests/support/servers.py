"""A real server for tests: the product's own, in a thread, on a port chosen by the system."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import uvloop
from fastapi import FastAPI

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.cli.server import Server
from tests.support.clients import async_client_at, client_at

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a server that does not start, answer or stop counts as failed."""
TICK_SECONDS = 0.01
"""The pause between two looks at the connections; a test waits for some of them."""


class _QuickServer(Server):
    """The product's server, which looks at its connections ten times as often."""

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(TICK_SECONDS)


class RunningServer:
    """Serves an application inside its block."""

    def __init__(self, app: FastAPI, connections: Connections | None = None) -> None:
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settled = threading.Event()
        """Set when the server runs, or has failed to start."""
        connections = connections or Connections(ConnectionLimits())
        self._server = _QuickServer(app, self._settled.set, connections)
        self._thread = threading.Thread(target=self._run, name="test-server", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        host, port = self._socket.getsockname()
        return host, port

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        host, port = self.address
        return f"http://{host}:{port}"

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self._server.server_state.connections)

    def client(self, token: str | None = None) -> httpx.Client:
        """A client over a real connection."""
        return client_at(self.url, token)

    def async_client(self, token: str | None = None) -> httpx.AsyncClient:
        """The same for coroutines."""
        return async_client_at(self.url, token)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the server's loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def connect(self) -> socket.socket:
        """A new connection, for requests that ordinary HTTP clients would not send."""
        return socket.create_connection(self.address, timeout=PATIENCE)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        finally:
            self._settled.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self.app.router.lifespan_context(self.app):
            await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._settled.wait(PATIENCE)
        assert self._server.started
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._socket.close()
