"""Streams that go on where they were cut off."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx
from pydantic import BaseModel

from strongroom._answers import model_of
from strongroom._async import waiting
from strongroom._async.transport import Transport
from strongroom._errors import (
    ClientClosed,
    ConnectionFailed,
    StreamReset,
    StrongroomError,
    UnexpectedAnswer,
)
from strongroom._retrying import failure_of, pause
from strongroom._sse import Message, Parser

M = TypeVar("M", bound=BaseModel)

SILENCE_SECONDS = 45.0
"""A connection that is silent for so long is broken: the service sends something every 15 s."""
_TEMPORARY = frozenset({429, 502, 503, 504})


class Stream(Generic[M]):
    """What happens, as it happens: an iterator without an end.

    It connects again after each interruption, without a gap or a repeat. Refusals are raised, such
    as `Unauthenticated` when the token was revoked; so is `StreamReset` where something is missing,
    and the same stream can be read on after it.
    """

    def __init__(
        self, transport: Transport, path: str, query: Mapping[str, Any], item: type[M]
    ) -> None:
        self._transport = transport
        self._path = path
        self._query = query
        self._item = item
        self._stack = AsyncExitStack()
        self._messages: AsyncGenerator[Message, None] | None = None
        self._parser = Parser()
        self._failures = 0
        self._has_been_connected = False
        self._is_closed = False
        self._ready: int | None = None
        self.last_event_id: str | None = None
        """The place of the stream: `after` of another stream goes on here. None before `ready`."""

    async def ready(self) -> int:
        """Connect, and return the id of the newest row: what is read from now on is complete
        together with what the stream tells."""
        while self._ready is None:
            if self._is_closed:
                raise ClientClosed("this stream has been closed: open another one")
            message = await self._next()
            if message.event == "message":
                raise UnexpectedAnswer("the stream does not begin with ready")
        return self._ready

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        while True:
            message = await self._next()
            if message.event == "message":
                self.last_event_id = message.id or self.last_event_id
                return model_of(self._item, message.data)

    async def aclose(self) -> None:
        """End the stream. Nothing more can be read from it."""
        self._is_closed = True
        await self._disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _next(self) -> Message:
        """The next message of any kind, after as many connections as that takes."""
        while not self._is_closed:
            try:
                if self._messages is None:
                    self._messages = await self._connect()
                message = await anext(self._messages)
            except StopAsyncIteration:
                # The service ended the stream in good order, and said when to come back.
                await self._come_back(self._parser.retry or 0.0)
            except ConnectionFailed:
                if self._is_out_of_patience():
                    await self._disconnect()
                    raise
                await self._come_back(0.0)
            except StrongroomError as error:
                await self._disconnect()
                if error.status not in _TEMPORARY or self._is_out_of_patience():
                    raise
                await self._come_back(error.retry_after or 0.0)
            except BaseException:
                # A cancelled read leaves the connection in the middle of something.
                await self._disconnect()
                raise
            else:
                self._failures = 0
                self._heed(message)
                return message
        raise StopAsyncIteration

    def _heed(self, message: Message) -> None:
        if message.event == "ready":
            self._has_been_connected = True
            self._ready = int(json.loads(message.data)["last_id"])
            self.last_event_id = message.id or self.last_event_id
        elif message.event == "reset":
            raise StreamReset.because(str(json.loads(message.data).get("reason", "")))

    def _is_out_of_patience(self) -> bool:
        """Before the first connection a stream is as patient as a call; afterwards always."""
        options = self._transport.options
        return not self._has_been_connected and self._failures >= options.max_retries

    async def _connect(self) -> AsyncGenerator[Message, None]:
        headers = {"Accept": "text/event-stream"}
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        response = await self._stack.enter_async_context(
            self._transport.open(self._path, self._query, headers, SILENCE_SECONDS)
        )
        self._parser = Parser()
        return await self._stack.enter_async_context(aclosing(_messages(response, self._parser)))

    async def _disconnect(self) -> None:
        self._messages = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def _come_back(self, seconds: float) -> None:
        await self._disconnect()
        await waiting.sleep(seconds + pause(self._failures))
        self._failures += 1


async def _messages(response: httpx.Response, parser: Parser) -> AsyncGenerator[Message, None]:
    try:
        async for chunk in response.aiter_bytes():
            for message in parser.feed(chunk):
                yield message
    except httpx.RequestError as error:
        raise failure_of(error, may_have_happened=False) from error
