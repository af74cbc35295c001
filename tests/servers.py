"""A real server for tests: uvicorn in a thread, on a port that the system chose."""

import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

PATIENCE = 30.0
"""Seconds after which a server that does not start, answer or stop is a failure."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        """It serves, or it never will."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()


class RunningServer:
    """Serves an application while its block runs."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                loop="uvloop",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
                # As `strongroom serve` has it: a client's idle connection is not closed under it.
                timeout_keep_alive=75,
            )
        )
        self._thread = threading.Thread(target=self._run, name="test-server", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._socket.getsockname()
        return host, port

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        host, port = self.address
        return f"http://{host}:{port}"

    def connect(self) -> socket.socket:
        """A new connection, for requests that no HTTP client would send."""
        return socket.create_connection(self.address, timeout=PATIENCE)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._server.settled.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._server.settled.wait(PATIENCE)
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
