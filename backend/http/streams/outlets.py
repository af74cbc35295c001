"""Where the messages of a stream are written to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.types import Receive, Send

from backend.http.streams.messages import Piece


class Outlet(Protocol):
    """The connection of one client."""

    @property
    def unsent_bytes(self) -> int:
        """How much was written and is not on its way yet."""
        ...

    def write(self, piece: Piece) -> None:
        """Write a piece, which is never refused. Does nothing once the connection is closed."""
        ...

    async def drain(self) -> None:
        """Wait while the client has much to read, or until the connection is closed."""
        ...

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` once the connection is closed, at once if it is already."""
        ...

    def abort(self) -> None:
        """Close the connection, without what is unsent."""
        ...


class MessageOutlet:
    """Writes in ASGI's messages: for servers that offer no other outlet."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._waiting: list[bytes] = []
        self._unsent = 0
        self._has_some = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._lost: Callable[[], None] | None = None
        self._is_lost = False

    @property
    def unsent_bytes(self) -> int:
        return self._unsent

    def write(self, piece: Piece) -> None:
        if not self._is_lost:
            self._waiting.append(piece.plain)
            self._unsent += len(piece.plain)
            self._has_some.set()
            self._is_empty.clear()

    async def drain(self) -> None:
        await self._is_empty.wait()

    def on_lost(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        if self._is_lost:
            lost()

    def abort(self) -> None:
        """Nothing: the server closes the connection when the answer ends too early."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send what is written in the block."""
        tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._listen())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _pump(self) -> None:
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            data, self._waiting = b"".join(self._waiting), []
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
            self._unsent -= len(data)
            if not self._unsent:
                self._is_empty.set()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_lost = True
        self._is_empty.set()
        if self._lost is not None:
            self._lost()
