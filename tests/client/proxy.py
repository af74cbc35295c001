"""A proxy on the way to a server that breaks what it is told to break."""

import asyncio
from collections import Counter
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

Address = tuple[str, int]
PAGE = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 15\r\n"
    b"Connection: close\r\n\r\n<h1>Sorry.</h1>"
)
_ENDS = (ConnectionError, asyncio.IncompleteReadError)


class Fate(Enum):
    """What happens to a request."""

    PASSED = "passed"
    BEFORE = "the connection breaks before the request is passed on"
    AFTER = "it breaks after the server has answered"
    HALFWAY = "it breaks within the answer"
    PAGE_BEFORE = "the proxy answers itself, and passes nothing on"
    PAGE_AFTER = "the proxy answers itself after the server has done its work"


BREAKS = [fate for fate in Fate if fate is not Fate.PASSED]


class Proxy:
    """Passes requests on, one after the other on each connection. `decide` says what happens to the
    next one. With `is_tunnel` it passes bytes on, for answers without an end."""

    def __init__(
        self, target: Address, decide: Callable[[], Fate] | None = None, *, is_tunnel: bool = False
    ) -> None:
        self.target = target
        self.fates: Counter[Fate] = Counter()
        self.url = ""
        self._decide = decide or (lambda: Fate.PASSED)
        self._is_tunnel = is_tunnel
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def breaks(self) -> int:
        """How many requests got no answer of the server."""
        return self.fates.total() - self.fates[Fate.PASSED]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Break all connections."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await (self._tunnel if self._is_tunnel else self._requests)(reader, writer)
        except (*_ENDS, asyncio.CancelledError):
            # The client left, or `cut` was called. The task has nothing more to do.
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self.target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_server))
                group.create_task(_pump(from_server, writer))
        except* _ENDS:
            pass
        finally:
            to_server.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await _message(reader)
            fate = self._decide()
            self.fates[fate] += 1
            if fate is Fate.BEFORE:
                return
            answer = PAGE if fate is Fate.PAGE_BEFORE else await self._asked(request)
            if fate is Fate.AFTER:
                return
            if fate is Fate.HALFWAY:
                writer.write(answer[: len(answer) // 2])
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                return
            writer.write(PAGE if fate is Fate.PAGE_AFTER else answer)
            await writer.drain()

    async def _asked(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self.target)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    raise ConnectionError


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A whole request or answer. All of ours have a `Content-Length`, or no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head + await reader.readexactly(int(value))
    return head
