"""The product's connections on a port of the test's own event loop."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.http.application import Application
from backend.http.whole_requests import WholeRequest
from tests.support.asgi import Head

FRAMING = (b"content-length", b"transfer-encoding")
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
SECONDS = 30
"""A server that takes longer has failed."""


class Listening:
    """The product's connections in front of an application, on a port of this event loop."""

    def __init__(self, app: FastAPI, *, at_once: bool, keep_alive: int = 75) -> None:
        """Without `at_once`, the application sends all answers."""
        self._app = app
        self._connections = Connections(ConnectionLimits())
        if at_once:
            assert isinstance(app, Application)
            assert app.kept_path is not None
            self._connections.application = self  # type: ignore[assignment]
            self.kept_path = app.kept_path
            self._takes_whole = app.takes_whole
            self.takes_whole = self._pass_whole
        self._config = Config(
            self._pass,
            http=self._connections.make,  # type: ignore[arg-type]
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=keep_alive,
        )
        self._state = ServerState()
        self._state.default_headers = [(b"date", b"today"), (b"server", b"this")]
        self.passed = 0
        """How many requests have reached the application."""
        self.in_parts = 0
        """How many of those that had arrived as a whole were answered in ASGI's messages."""
        self.port = 0

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed += 1
        await self._app(scope, receive, send)

    async def _pass_whole(
        self, request: WholeRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request that has arrived as a whole to the application."""
        self.passed += 1
        assert self._takes_whole is not None
        scope["app"] = self._app

        async def count_and_send(message: Message) -> None:
            self.in_parts += message["type"] == "http.response.start"
            await send(message)

        await self._takes_whole(request, scope, receive, count_and_send)

    async def settled(self) -> None:
        """Wait until all connections are closed and all requests have ended."""
        async with asyncio.timeout(SECONDS):
            while self._state.connections or self._state.tasks:
                await asyncio.sleep(0)
        # What a turn answered is logged at its end.
        await asyncio.sleep(0)

    def stop(self) -> None:
        """Begin to stop, as uvicorn does: connections close after the running requests."""
        for connection in list(self._state.connections):
            connection.shutdown()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Listening"]:
        """Listen in the block."""
        self._config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: self._connections.make(
                config=self._config, server_state=self._state, app_state={}
            ),
            "127.0.0.1",
            0,
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for connection in list(self._state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)


class Line:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def answer(self, *, has_body: bool = True) -> bytes:
        """The next answer, or what came of it when the server closed the connection."""
        async with asyncio.timeout(SECONDS):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 100 "):
                    return head + await self.answer(has_body=has_body)
                length = LENGTH.search(head)
                size = int(length[1]) if length is not None and has_body else 0
                return head + await self._reader.readexactly(size)
            except asyncio.IncompleteReadError as error:
                return error.partial
            except ConnectionResetError:
                return b"reset"


@asynccontextmanager
async def line_to(listening: Listening) -> AsyncIterator[Line]:
    """A connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


def sent(head: Head) -> bytes:
    """The bytes of a request. Its body is left out if its head tells of none."""
    path = head.path.encode() if head.raw_path is None else head.raw_path
    url = path + b"?" + head.query if head.query else path
    first = b"%s %s HTTP/%s\r\n" % (head.method.encode(), url, head.version.encode())
    framing = {name: value for name, value in head.headers if name in FRAMING}
    body = head.body if framing.get(b"content-length") != b"0" and framing else b""
    return b"".join([first, *(b"%s: %s\r\n" % h for h in head.headers), b"\r\n", body])


async def asked(listening: Listening, data: bytes, *, has_body: bool = True) -> bytes:
    """The answer to these bytes on a connection of their own."""
    async with line_to(listening) as line:
        line.writer.write(data)
        return await line.answer(has_body=has_body)
