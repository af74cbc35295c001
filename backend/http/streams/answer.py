"""The answer that is a stream."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request
from fastapi.sse import EventSourceResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from backend.errors import BadRequest, InvalidField
from backend.http.authentication import client_address, running_service
from backend.http.request_head import IS_HEAD, OPENED_AT, OUTLET, headers_of
from backend.http.state import state_of
from backend.http.streams.messages import Piece, beginning, farewell, pieces
from backend.http.streams.outlets import MessageOutlet, Outlet
from backend.http.streams.source import Source
from backend.http.streams.stream import WITHOUT_FAREWELL, Ending, Stream
from backend.http.streams.streams import Streams
from backend.services.database_service import DatabaseService
from backend.services.feeds import Extent, Feed
from backend.services.places import Place
from backend.services.principal import Principal, current_principal
from database.errors import DatabaseError
from database.slow_reads import reading_slowly

_CATCH_UP = 200
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def wants_stream(request: Request) -> bool:
    """Whether the request asks for a stream: its `Accept` is exactly the type of one."""
    accepted = headers_of(request.scope).get(b"accept", b"")
    return accepted.strip().lower() == b"text/event-stream"


async def open_stream(
    request: Request,
    feed: Feed[Any],
    wanted: Any,
    *,
    after: Place | None,
    cursor: str | None,
    name: str,
) -> "StreamAnswer":
    """A stream of what is wanted, after the place in `Last-Event-ID` or else in the parameter
    called `name`, or from now on.

    Raises `TooManyStreams`, `BadRequest` for another `Last-Event-ID`, `InvalidField` for a cursor,
    and `DatabaseError`.
    """
    if cursor is not None:
        raise InvalidField(("query", "cursor"), "not_in_a_stream", f"a stream takes {name} instead")
    service, state = running_service(request), state_of(request.app)
    principal = current_principal()
    client = principal.token_id or client_address(request)
    after = _last_place(request) or after
    extent = await feed.extent()
    if not request.scope.get(IS_HEAD):
        state.streams.require_place(client)
        state.waits.make_room()
    begin = _Beginning(extent, after)
    return StreamAnswer(state.streams, service, feed, wanted, begin, principal, client)


def _last_place(request: Request) -> Place | None:
    given = headers_of(request.scope).get(b"last-event-id", b"").strip()
    if not given:
        return None
    try:
        return Place.parse(given.decode("ascii"))
    except ValueError:
        raise BadRequest("send Last-Event-ID as it came in a stream, or leave it out") from None


class _Beginning:
    """Where a stream begins."""

    def __init__(self, extent: Extent, after: Place | None) -> None:
        self.epoch = extent.epoch
        self.last_id = extent.last_id
        self.after_id = extent.last_id
        self.reset: str | None = None
        """Why the client has missed something; `None` if it has not."""
        if after is None:
            return
        if after.epoch not in (None, extent.epoch) or after.id > extent.last_id:
            self.reset = "epoch"
        elif after.id < extent.removed_id:
            # A client that asks for the oldest entry has missed nothing.
            self.reset = "removed" if after.id or after.epoch is not None else None
            self.after_id = extent.removed_id
        else:
            self.after_id = after.id

    def piece(self) -> Piece:
        """The first messages."""
        return beginning(self.epoch, self.after_id, self.last_id, self.reset)


class StreamAnswer(EventSourceResponse):
    """A stream, which goes on until one of both sides ends it.

    It has FastAPI's type and form of messages, but not its generators: those take five tasks and a
    queue for each stream.
    """

    def __init__(
        self,
        streams: Streams,
        service: DatabaseService,
        feed: Feed[Any],
        wanted: Any,
        begin: _Beginning,
        principal: Principal,
        client: object,
    ) -> None:
        super().__init__(_nothing(), headers=_HEADERS)
        self._streams = streams
        self._service = service
        self._feed = feed
        self._wanted = wanted
        self._begin = begin
        self._principal = principal
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Raises `ClientDisconnect` if it had to break off and only the server can
        close the connection."""
        is_head = scope.get(IS_HEAD, False)
        of_server: Callable[[], Outlet] | None = scope.get(OUTLET) if not is_head else None
        # Made before the head, which tells that the connection closes.
        outlet = of_server() if of_server is not None else None
        await send(
            {"type": "http.response.start", "status": 200, "headers": list(self.raw_headers)}
        )
        if outlet is not None or is_head:
            # What compresses other answers holds back the head until there is a body.
            await send({"type": "http.response.body", "body": b"", "more_body": not is_head})
        scope[OPENED_AT] = time.perf_counter()
        if is_head:
            return
        async with AsyncExitStack() as stack:
            if outlet is None:
                outlet = messages = MessageOutlet(receive, send)
                await stack.enter_async_context(messages.running())
            stream = Stream(self._feed.name, self._principal, self._client, outlet)
            self._streams.add(stream, self._service)
            try:
                await self._run(stream)
            finally:
                stream.end(Ending.FAILED)
                self._streams.remove(stream)
        if stream.ending is Ending.CLIENT:
            return
        if stream.ending not in WITHOUT_FAREWELL and not outlet.unsent_bytes:
            last = farewell(self._streams.retry_ms())
            if of_server is not None:
                outlet.write(last)
            body = last.plain if of_server is None else b""
            await send({"type": "http.response.body", "body": body})
            return
        outlet.abort()
        if of_server is None:
            raise ClientDisconnect

    async def _run(self, stream: Stream) -> None:
        stream.write(self._begin.piece(), stream.last_at)
        source = self._streams.source(self._feed)
        try:
            await source.enter(stream)
            await self._catch_up(stream, source)
            if stream.ending is None:
                source.join(stream, self._wanted)
            await stream.over
        except DatabaseError:
            stream.end(Ending.FAILED)
        finally:
            source.leave(stream, self._wanted)

    async def _catch_up(self, stream: Stream, source: Source) -> None:
        """Send what was committed before the stream joins. Raises `DatabaseError`."""
        after_id = self._begin.after_id
        # The source may still have to tell others of what this client knows.
        await source.reach(after_id, stream)
        while after_id < source.last_id and stream.ending is None:
            until_id = source.last_id
            # Readers of their own, so that many clients that come back delay no other read.
            with reading_slowly():
                part = await self._feed.following(self._wanted, after_id, until_id, _CATCH_UP)
                removed_id = (await self._feed.extent()).removed_id
            if removed_id > after_id:
                stream.end(Ending.REMOVED)
            for piece in pieces(source.epoch, part.entries):
                stream.write(piece, time.monotonic())
                await stream.drain()
            after_id = until_id if part.is_last else part.entries[-1].id


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece
