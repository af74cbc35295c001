"""Reads streams over a real connection, as a client would."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE = 20.0
"""Seconds after which a message that does not come counts as missing."""
ACCEPT = {"Accept": "text/event-stream"}


@dataclass
class Message:
    """One message of a stream."""

    event: str | None = None
    id: str | None = None
    retry: int | None = None
    data: Any = None
    comments: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The id without its epoch."""
        assert self.id is not None
        return int(self.id.partition("-")[2])


def message_of(text: str) -> Message:
    """The message with these lines."""
    message = Message()
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            message.comments.append(value)
        elif name == "data":
            assert message.data is None
            message.data = json.loads(value)
        elif name == "retry":
            message.retry = int(value)
        else:
            assert name in ("event", "id"), line
            setattr(message, name, value)
    return message


class Following:
    """The messages of one stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._texts = self._split()

    async def next(self) -> Message | None:
        """The next message; `None` at the end, and where the connection breaks."""
        async with asyncio.timeout(PATIENCE):
            try:
                text = await anext(self._texts, None)
            except httpx.RemoteProtocolError:
                return None
        return message_of(text) if text is not None else None

    async def expect(self) -> Message:
        """The next message, which must come."""
        message = await self.next()
        assert message is not None, "the stream has ended"
        return message

    async def ready(self) -> Message:
        """The message with which the stream begins, if nothing was missed."""
        message = await self.expect()
        assert message.event == "ready", message
        return message

    async def entry(self) -> dict[str, Any]:
        """The next entry."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.expect()).data is None:
                assert message.comments
        assert message.event is None
        assert message.id is not None
        assert message.number == message.data["id"]
        entry: dict[str, Any] = message.data
        return entry

    async def until(self, id: int) -> list[int]:
        """The ids of the entries up to this one."""
        ids: list[int] = []
        while not ids or ids[-1] < id:
            ids.append((await self.entry())["id"])
        return ids

    async def ended(self) -> list[Message]:
        """The messages up to the end, which must come."""
        messages = []
        while (message := await self.next()) is not None:
            messages.append(message)
        return messages

    async def _split(self) -> AsyncIterator[str]:
        rest = ""
        async for text in self.response.aiter_text():
            *whole, rest = (rest + text).split("\n\n")
            for one in whole:
                yield one


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, path: str = "/api/events", headers: dict[str, str] | None = None
) -> AsyncIterator[Following]:
    """A stream that is open in the block."""
    async with client.stream("GET", path, headers={**ACCEPT, **(headers or {})}) as response:
        assert response.status_code == 200, await response.aread()
        yield Following(response)
