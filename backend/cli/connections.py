"""A connection that limits how much a client may send, and how long it may take.

uvicorn limits neither the time for headers, body and reading the answer, nor the size of anything
but a body. This class counts the bytes that arrive, and `overdue()` finds slow clients from the
state that uvicorn keeps of the connection.
"""

from asyncio import Transport
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from backend.cli.at_once import AnsweringAtOnce
from backend.cli.client_time import ClientTime, Wait, unacknowledged_bytes
from backend.cli.last_answers import TAIL_BYTES, LastAnswer, LastAnswers
from backend.cli.request_target import read_target
from backend.cli.upgrades import has_body, parser_behind_head, stand_in
from backend.http.application import Application
from backend.http.request_head import (
    FAULT,
    MAX_HEADER_BYTES,
    MAX_URL_BYTES,
    Fault,
    headers_too_large,
    url_too_long,
)

TOO_MANY = "too_many"
_NO_HTTP = "this is not an HTTP request"
_PIECE_BYTES = 4096
"""The parser gets received bytes in pieces of this size, so that each piece can be attributed to a
head or a body."""
_MAX_PIECE_BYTES = 32 * 1024
_FRAME_BYTES = 16
"""The bytes that the frame of a chunk may have, in addition to twice its data."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of connections."""

    connections: int = 4096
    """The number of connections; one more is answered 503 and closed."""
    seconds: float = 10.0
    """After this time a connection is closed if its client has not sent its first byte or the rest
    of its headers, or has stopped sending its body or reading its answer."""
    bytes_per_second: int = 1024
    """A client that sends a body or reads an answer more slowly uses up `seconds` bit by bit."""
    head_bytes: int = MAX_HEADER_BYTES
    """Headers that are incomplete after this many bytes are answered 431. The same limit applies to
    the trailers of a body and the extensions of its chunks."""
    url_bytes: int = MAX_URL_BYTES
    """A URL that is incomplete after this many bytes is answered 414."""


class Connection(AnsweringAtOnce):
    """A connection that limits its client."""

    def __init__(
        self,
        limits: ConnectionLimits,
        seen: Counter[str],
        last_answers: LastAnswers,
        application: Application | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(application, **arguments)
        self._limits = limits
        self._seen = seen
        self._last_answers = last_answers
        self._last_answer: LastAnswer | None = None
        self._time = ClientTime(limits.seconds, limits.bytes_per_second)
        self._body_bytes = 0
        self._body_parts = 0
        self._head_bytes = 0
        """The bytes since the last head that are not data of a body."""
        self._tail = b""
        """The end of an incomplete head, from which a refusal reads the origin."""
        self._in_body = False
        """Whether the parser is between the headers of a request and its end."""
        self._deaf = False
        """Whether further bytes are ignored, because they can't be parsed."""
        self.url = b""
        self._pauses = 0
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it when there are too many."""
        if len(self.connections) < self._limits.connections:
            super().connection_made(transport)
            return
        self.transport = transport
        self._deaf = True
        self._seen[TOO_MANY] += 1
        fault = Fault("too_many_connections", "try again in a moment")
        self._last_answer = LastAnswer(self._last_answers, transport)
        self._last_answer.refuse(fault, headers={"Retry-After": "1"})

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection."""
        if self._last_answer is not None:
            self._last_answer.end()
        if self._running is not None:
            # uvicorn tells only the last of several pipelined requests, not the one being served.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Called when the client sends nothing more; the transport closes afterwards."""
        if self._last_answer is not None:
            self._last_answer.refuse_now()

    def data_received(self, data: bytes) -> None:
        """Process the bytes that the client has sent."""
        if self._deaf:
            if self._last_answer is not None:
                self._last_answer.hear(data)
            return
        self.begin_data()
        if len(data) <= _PIECE_BYTES:
            self._take(data, data)
        else:
            self._take_in_pieces(data)
        self.end_data()
        if self._head_bytes and not self._in_body:
            self._tail = (self._tail + data)[-TAIL_BYTES:]

    def _take_in_pieces(self, data: bytes) -> None:
        view, size = memoryview(data), _PIECE_BYTES
        while view and not self._deaf:
            self._take(view[:size], data)
            view = view[size:]
            # Data of a body are most of the bytes and need less care, so the pieces may grow.
            is_data = self._in_body and self._head_bytes == 0
            size = min(2 * size, _MAX_PIECE_BYTES) if is_data else _PIECE_BYTES

    def _take(self, piece: bytes | memoryview, data: bytes) -> None:
        """Process one piece of the received `data`."""
        heads, body_bytes, body_parts = self.heads, self._body_bytes, self._body_parts
        self._parse(piece, data)
        if self.heads != heads:
            self._head_bytes = 0
            self._tail = b""
            return
        # Nothing else limits the incomplete parts that the parser keeps or skips: a URL, headers,
        # empty lines before them, extensions of chunks, trailers.
        worth = 3 * (self._body_bytes - body_bytes) + _FRAME_BYTES * (self._body_parts - body_parts)
        self._head_bytes = max(0, self._head_bytes + len(piece) - worth)
        limits = self._limits
        if len(self.url) > limits.url_bytes:
            self._reject(url_too_long(limits.url_bytes), data)
        elif self._head_bytes - len(self.url) >= limits.head_bytes:
            self._reject(headers_too_large(limits.head_bytes), data)

    def on_headers_complete(self) -> None:
        """Begin to serve the request."""
        if not self.url.startswith(b"/"):
            self._read_target()
        if b"#" in self.url:
            self._note(Fault("bad_request", "leave the fragment out of the URL"))
        if len(self.url) > self._limits.url_bytes:
            self._note(url_too_long(self._limits.url_bytes))
            # uvicorn can't parse a URL this long, and the edge refuses the request without it.
            self.url = b"/"
        super().on_headers_complete()
        # Trailers after the body (RFC 9110, section 6.5) are not headers of the request.
        self.headers = []
        # The URL no longer counts towards the limits of the bytes that follow.
        self.url = b""
        self._in_body = True

    def _note(self, fault: Fault) -> None:
        """Let the edge refuse the request."""
        self.scope[FAULT] = fault  # type: ignore[literal-required]

    def _read_target(self) -> None:
        """Take the path and the host from an absolute URL."""
        target = read_target(self.url, self.parser.get_method())
        self.url = target.url
        if target.host is not None:
            self.headers[:] = [
                (name, target.host if name == b"host" else value) for name, value in self.headers
            ]
        if target.fault is not None:
            self._note(target.fault)

    def _parse(self, piece: bytes | memoryview, data: bytes) -> None:
        """Parse a piece as uvicorn does, but without its warnings: clients could fill the log."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError:
            what = "the chunks of the body are malformed" if self._in_body else _NO_HTTP
            self._reject(Fault("bad_request", what), data)
        except httptools.HttpParserUpgrade as upgrade:
            self._seen["upgrade"] += 1
            (end,) = upgrade.args
            self._serve_without_upgrade(piece[end:], data)

    def _serve_without_upgrade(self, rest: bytes | memoryview, data: bytes) -> None:
        """Go on in HTTP/1.1 after a request for another protocol (RFC 9110, 7.8 and 9.3.6)."""
        headers = self.scope["headers"]
        if self.scope["method"] == "CONNECT":
            # The bytes that follow are for another server.
            self._deaf = True
            self.cycle.keep_alive = False
            return
        if has_body(headers):
            self.parser = parser_behind_head(self)
            self._parse(b"".join((stand_in(headers), rest)), data)
        elif rest:
            self._parse(rest, data)

    def on_body(self, body: bytes) -> None:
        """Count and pass on a part of a body."""
        self._body_bytes += len(body)
        self._body_parts += 1
        super().on_body(body)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """End a request."""
        skips_body = not self.is_answered and self.parser.should_upgrade()
        if skips_body and has_body(self.scope["headers"]):
            # This parser skips the body, and another parser is about to read it.
            return
        self._in_body = False
        self._head_bytes = 0
        super().on_message_complete()
        cycle = self.last_request()
        idle = cycle is not None and cycle.response_complete
        if idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            # A body that arrived after the answer has cancelled the keep-alive timer.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """Called by the transport when the client reads more slowly than the server writes."""
        self._pauses += 1
        super().pause_writing()

    def overdue(self, elapsed: float, *, crowded: bool) -> Wait | None:
        """The wait for which the client is too late; `None` while it has time left.

        Must be called regularly, with the seconds since the previous call.
        """
        return self._time.overdue(*self._waiting(crowded=crowded), elapsed)

    def _waiting(self, *, crowded: bool) -> tuple[tuple[Wait, object] | None, int]:
        """What the server waits for, or `None`, and a number that grows with the progress."""
        try:
            unsent = self.transport.get_write_buffer_size()
        except RuntimeError:
            # The transport is closed, and `connection_lost` is about to be called.
            return None, 0
        if unsent:
            # If new data was added, a pause shows it sooner or later: the client had read some.
            return (Wait.ANSWER, self._pauses), -(unsent + unacknowledged_bytes(self.transport))
        cycle = self.last_request()
        if cycle is None or cycle.response_complete:
            # Any byte cancels uvicorn's own timer for idle connections.
            if not self.heads or self.timeout_keep_alive_task is None:
                return (Wait.HEAD, self.heads), 0
            return ((Wait.IDLE, self.heads) if crowded else None), 0
        is_read = not (self.flow.read_paused or cycle.waiting_for_100_continue)
        return ((Wait.BODY, cycle) if cycle.more_body and is_read else None), self._body_bytes

    def _reject(self, fault: Fault, data: bytes) -> None:
        """Stop reading, and close after the pending answers are sent."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        self._seen["not_http" if fault.code == "bad_request" else fault.code] += 1
        cycle = self.last_request()
        self._last_answer = last_answer = LastAnswer(self._last_answers, self.transport)
        if cycle is None or (cycle.response_complete and not self._in_body):
            origins = [value for name, value in self.headers or () if name == b"origin"]
            origin = origins[0] if len(origins) == 1 else None
            last_answer.refuse(fault, self._tail + data, origin)
        elif cycle.response_complete:
            # The client would take a second answer for the answer to its next request.
            last_answer.close()
        else:
            cycle.keep_alive = False
            cycle.transport = last_answer  # type: ignore[assignment]
            if self._in_body:
                # The edge refuses the request, as it does for the faults that it finds itself.
                cycle.scope[FAULT] = fault  # type: ignore[literal-required]
                cycle.more_body = False
                cycle.message_event.set()
