"""A connection that sends most answers itself.

uvicorn makes a task of the event loop for each request, which takes longer than all that a kept
answer needs. So such an answer is written as soon as its request's head is complete. Other answers
are written in one piece if the request's body has arrived with its head.
"""

from collections.abc import Callable
from functools import partial
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from backend.http.application import Application
from backend.http.kept_answers import RawHeaders
from backend.http.kept_path import Waits
from backend.http.request_head import FAULT, OUTLET
from backend.http.streams.messages import Piece


class Whole:
    """A request that has arrived as a whole, as uvicorn's cycle has it."""

    __slots__ = ("_connection", "_cycle")

    def __init__(self, cycle: RequestResponseCycle, connection: "AnsweringAtOnce") -> None:
        self._cycle = cycle
        self._connection = connection

    @property
    def server_headers(self) -> RawHeaders:
        """The headers that the server adds to every answer."""
        return self._cycle.default_headers

    def take_body(self) -> bytes:
        """The body. To be called once, and then instead of `receive`."""
        cycle = self._cycle
        body = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.message_event.clear()
        cycle.flow.resume_reading()
        return body

    def may_write(self) -> bool:
        """Whether the answer may be written at once, and the connection stays open."""
        cycle = self._cycle
        return cycle.keep_alive and not cycle.disconnected and not cycle.flow.write_paused

    def write(self, answer: bytes) -> None:
        """Write all bytes of the answer, if it may be written, and end the request."""
        cycle = self._cycle
        cycle.transport.write(answer)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()

    def outlet(self) -> "OpenEnded":
        """Where an answer without an end is written to. The connection closes after it."""
        cycle = self._cycle
        cycle.keep_alive = False
        if cycle.scope["http_version"] == "1.0":
            # That version has no chunks: the body ends with the connection.
            cycle.chunked_encoding = False
        return OpenEnded(cycle, self._connection)


class OpenEnded:
    """The body of an answer without an end, written past ASGI's messages: many clients get the same
    bytes, and each message would take longer than writing them."""

    __slots__ = ("_connection", "_cycle", "_transport")

    def __init__(self, cycle: RequestResponseCycle, connection: "AnsweringAtOnce") -> None:
        self._cycle = cycle
        self._connection = connection
        self._transport = connection.transport
        if not cycle.disconnected and not self._transport.is_closing():
            # Otherwise the system would keep megabytes for a client that does not read.
            socket = self._transport.get_extra_info("socket")
            socket.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER_BYTES)

    @property
    def unsent_bytes(self) -> int:
        """How much the system has not accepted yet."""
        return 0 if self._cycle.disconnected else self._transport.get_write_buffer_size()

    def write(self, piece: Piece) -> None:
        """Write a piece, as a chunk if the answer has chunks."""
        cycle = self._cycle
        if not cycle.disconnected and not self._transport.is_closing():
            self._transport.write(piece.chunked if cycle.chunked_encoding else piece.plain)

    async def drain(self) -> None:
        """Wait while much is unsent."""
        if self._cycle.flow.write_paused:
            await self._cycle.flow.drain()

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` once the connection is closed, at once if it is already."""
        if self._cycle.disconnected:
            lost()
        else:
            self._connection.lost = lost

    def abort(self) -> None:
        """Close the connection, without what is unsent."""
        if not self._cycle.disconnected:
            # Otherwise uvicorn would log that the answer is incomplete.
            self._cycle.disconnected = True
            self._transport.abort()


_SEND_BUFFER_BYTES = 64 * 1024
"""Linux doubles it for its own records."""


class AnsweringAtOnce(HttpToolsProtocol):
    """uvicorn's protocol, which leaves out the application when an answer is kept, and ASGI's
    messages when a request has arrived as a whole."""

    def __init__(self, application: Application | None, **arguments: Any) -> None:
        """`application` is `None` if all answers are sent in ASGI's messages."""
        super().__init__(**arguments)
        self._application = application
        self._kept_path = application.kept_path if application is not None else None
        self._takes_whole = application.takes_whole if application is not None else None
        self._starting: tuple[RequestResponseCycle, Any] | None = None
        """A request whose task is made when the received data are parsed."""
        self._is_parsing = False
        self._to_come: tuple[Waits, bytes] | None = None
        """The answer to the request that begins, if it waits for a turn, and the request's URL."""
        self.heads = 0
        """The number of requests so far."""
        self._first_head = 0
        """The number of the first request whose head ends in the data that is being processed."""
        self.is_answered = False
        """Whether the request that is being parsed has got its answer already."""
        self.lost: Callable[[], None] | None = None
        """Called when the connection is closed; `None` for nothing."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the connection is closed."""
        super().connection_lost(exc)
        if self.lost is not None:
            self.lost()

    def begin_data(self) -> None:
        """To be called before received data are parsed.

        Only the first request in them is answered at once, so that a client that sends many
        together does not hold up others.
        """
        self._first_head = self.heads + 1
        self._is_parsing = True

    def end_data(self) -> None:
        """To be called when received data are parsed."""
        self._is_parsing = False
        if self._starting is not None:
            (cycle, app), self._starting = self._starting, None
            waiting, self._to_come = self._to_come, None
            if waiting is None or self._kept_path is None:
                super()._start_asgi_task(cycle, self._serving(cycle, app))
            else:
                waits, url = waiting
                give = partial(self._answer_in_turn, cycle, app, url)
                self._kept_path.wait_at_once(waits, self.loop, give)

    def _answer_in_turn(self, cycle: RequestResponseCycle, app: Any, url: bytes) -> bool:
        """Send a kept answer that has waited for its turn, or begin to serve the request. Returns
        whether the answer was sent."""
        whole = Whole(cycle, self)
        if self._kept_path is not None and whole.may_write():
            scope, headers = cast("Scope", cycle.scope), whole.server_headers
            answer = self._kept_path.answer_at_once(url, scope, self.loop, headers, has_turn=True)
            if isinstance(answer, bytes):
                whole.write(answer)
                return True
        super()._start_asgi_task(cycle, self._serving(cycle, app))
        return False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._is_parsing:
            # The body may follow in the same data.
            self._starting = cycle, app
        else:
            super()._start_asgi_task(cycle, self._serving(cycle, app))

    def _serving(self, cycle: RequestResponseCycle, app: Any) -> Any:
        """What serves a request: `app`, or something faster for one that has arrived as a whole."""
        is_whole = not cycle.more_body and cycle.keep_alive and not cycle.waiting_for_100_continue
        scope = cast("Scope", cycle.scope)
        whole = Whole(cycle, self)
        if self._takes_whole is None or not is_whole or FAULT in scope:
            scope[OUTLET] = whole.outlet
            return app
        scope["app"] = self._application
        return partial(self._takes_whole, whole)

    def on_headers_complete(self) -> None:
        """Answer the request, or begin to serve it."""
        self.heads += 1
        if not self._answer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        if self.is_answered:
            self.is_answered = False
        else:
            super().on_message_complete()

    def last_request(self) -> RequestResponseCycle | None:
        """The last request that was not answered at once."""
        # uvicorn's annotation omits that `cycle` is None at first.
        return self.cycle

    def _answer(self) -> bool:
        """Answer the request if its answer is kept, and nothing else has to be done first. Returns
        whether it was answered."""
        if self._kept_path is None or self.heads != self._first_head:
            return False
        parser, cycle = self.parser, self.last_request()
        if (
            parser.get_method() != b"GET"
            or not parser.should_keep_alive()
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or self.expect_100_continue
            or (cycle is not None and not cycle.response_complete)
            or self.flow.write_paused
            or self.transport.is_closing()
            or FAULT in self.scope
        ):
            return False
        scope, headers = cast("Scope", self.scope), self.server_state.default_headers
        answer = self._kept_path.answer_at_once(self.url, scope, self.loop, headers)
        if not isinstance(answer, bytes):
            self._to_come = (answer, self.url) if answer is not None else None
            return False
        self.transport.write(answer)
        self.is_answered = True
        self.on_response_complete()
        return True
