"""A connection whose client has limits, in size and in time.

uvicorn lets a client take as long as it likes for its headers, its body, and reading its answer,
and send as much as it likes of what is no body. Here what comes is counted, and `overdue()` judges
the client by what uvicorn knows of the connection.
"""

import re
import sys
from asyncio import Transport
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from backend.cli.last_answers import TAIL_BYTES, LastAnswer, LastAnswers
from backend.cli.upgrades import has_body, parser_behind_head, stand_in
from backend.http.request_head import (
    FAULT,
    MAX_HEADER_BYTES,
    MAX_URL_BYTES,
    Fault,
    headers_too_large,
    url_too_long,
)

_PATIENCE = 0.75
"""The part of its time that the looks give a client. A wait has begun up to one look before it is
seen, and is over up to one look after its time: the rest covers both, and a late timer."""
TOO_MANY = "too_many"
_NO_HTTP = "this is not an HTTP request"
_PIECE_BYTES = 4096
"""What the parser gets at once of what comes together, so that it is known what it is part of."""
_MAX_PIECE_BYTES = 32 * 1024
_FRAME_BYTES = 16
"""What the frame of a chunk may cost, besides twice its data."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may cost."""

    connections: int = 4096
    """One more is answered 503 and closed."""
    seconds: float = 10.0
    """A client is closed after so long when it has not sent its first byte or the rest of its
    headers, sends nothing more of its body, or reads nothing more of its answer."""
    bytes_per_second: int = 1024
    """Whoever sends a body or reads an answer more slowly uses up `seconds` bit by bit."""
    head_bytes: int = MAX_HEADER_BYTES
    """Headers that are not whole after so many bytes are answered 431, and so are a body's trailers
    and extensions of chunks."""
    url_bytes: int = MAX_URL_BYTES
    """A URL that is not whole after so many bytes is answered 414."""


class Wait(StrEnum):
    """What the server waits for a client to do: send a head or a body, read an answer, or, while
    connections are few, anything at all."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"


class Connection(HttpToolsProtocol):
    """A connection whose client has limits."""

    def __init__(
        self,
        limits: ConnectionLimits,
        seen: Counter[str],
        last_answers: LastAnswers,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._seen = seen
        self._last_answers = last_answers
        self._last_answer: LastAnswer | None = None
        self._wait: tuple[Wait, object] | None = None
        """What is waited for since the last look, and a mark that changes with each new wait."""
        self._done = 0
        self._credit = 0.0
        self._body_bytes = 0
        self._body_parts = 0
        self._head_bytes = 0
        """What came since the last head, and is no data of a body."""
        self._tail = b""
        """The end of a head that is not whole, for the refusal of what follows."""
        self._in_body = False
        """Whether the parser is behind the headers of a request and before its end."""
        self._deaf = False
        """Whether nothing that comes is looked at any more, since it can't be understood."""
        self.url = b""
        self._pauses = 0
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it when there are too many."""
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
        """Let go of the connection."""
        if self._last_answer is not None:
            self._last_answer.end()
        if self._running is not None:
            # uvicorn tells the last of several requests that came together, whichever is served.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Told that the client sends nothing more; the transport closes then."""
        if self._last_answer is not None:
            self._last_answer.refuse_now()

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent."""
        if self._deaf:
            if self._last_answer is not None:
                self._last_answer.hear(data)
            return
        if len(data) <= _PIECE_BYTES:
            self._take(data, data)
        else:
            self._take_in_pieces(data)
        if self._head_bytes and not self._in_body:
            self._tail = (self._tail + data)[-TAIL_BYTES:]

    def _take_in_pieces(self, data: bytes) -> None:
        view, size = memoryview(data), _PIECE_BYTES
        while view and not self._deaf:
            self._take(view[:size], data)
            view = view[size:]
            # Data of a body need no such care, and are the most by far.
            is_data = self._in_body and self._head_bytes == 0
            size = min(2 * size, _MAX_PIECE_BYTES) if is_data else _PIECE_BYTES

    def _take(self, piece: bytes | memoryview, data: bytes) -> None:
        """Take a piece of what was received at once, `data`."""
        cycle, body_bytes, body_parts = self.cycle, self._body_bytes, self._body_parts
        self._parse(piece, data)
        if self.cycle is not cycle:
            self._head_bytes = 0
            self._tail = b""
            return
        # Nothing else bounds what the parser keeps or skips until it is whole: a URL, headers,
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
            self._take_authority()
        if b"#" in self.url:
            self._note(Fault("bad_request", "leave the fragment out of the URL"))
        if len(self.url) > self._limits.url_bytes:
            self._note(url_too_long(self._limits.url_bytes))
            # uvicorn can't take it apart, and nobody looks at it any more.
            self.url = b"/"
        super().on_headers_complete()
        # What comes behind the body (RFC 9110, section 6.5) is no header of the request.
        self.headers = []
        # What it takes is no part of what is counted from here on.
        self.url = b""
        self._in_body = True

    def _note(self, fault: Fault) -> None:
        """Have the request refused by the edge."""
        self.scope[FAULT] = fault  # type: ignore[literal-required]

    def _take_authority(self) -> None:
        """Make an absolute URL a path; its host goes before the header (RFC 9112, 3.2.2)."""
        target = _ABSOLUTE.fullmatch(self.url)
        if target is not None:
            self.headers[:] = [
                (name, target[1] if name == b"host" else value) for name, value in self.headers
            ]
            self.url = target[2] if target[2].startswith(b"/") else b"/" + target[2]
        elif b"://" in self.url:
            # A proxy that goes by the header Host would take it for another URL.
            self._note(
                Fault("bad_request", "an absolute URL must be http or https and have a host")
            )
        elif self.url == b"*" and self.parser.get_method() != b"OPTIONS":
            self._note(Fault("bad_request", "the URL * is only for OPTIONS"))
        # The parser of URLs refuses all others.

    def _parse(self, piece: bytes | memoryview, data: bytes) -> None:
        """What uvicorn does with it, but for a warning each time: strangers would fill the log."""
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
        """Go on with what the parser takes for another protocol (RFC 9110, 7.8 and 9.3.6)."""
        headers = self.scope["headers"]
        if self.scope["method"] == "CONNECT":
            # It is meant for another server, and no request to this one.
            self._deaf = True
            self.cycle.keep_alive = False
            return
        if has_body(headers):
            self.parser = parser_behind_head(self)
            self._parse(b"".join((stand_in(headers), rest)), data)
        elif rest:
            self._parse(rest, data)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body_bytes += len(body)
        self._body_parts += 1
        super().on_body(body)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """End a request."""
        if self.parser.should_upgrade() and has_body(self.scope["headers"]):
            # The parser skips it, and another one is about to read it.
            return
        self._in_body = False
        self._head_bytes = 0
        super().on_message_complete()
        cycle = self._last_request()
        idle = cycle is not None and cycle.response_complete
        if idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            # A body that came after the answer has ended the timer that the answer began.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """Told by the transport when the client reads more slowly than is written."""
        self._pauses += 1
        super().pause_writing()

    def overdue(self, elapsed: float, *, crowded: bool) -> Wait | None:
        """What the client has not done in time; None while it has time.

        To be called again and again, with the seconds since the call before.
        """
        before, done_before = self._wait, self._done
        self._wait, self._done = self._waiting(crowded=crowded)
        if self._wait is None:
            return None
        patience = self._limits.seconds * _PATIENCE
        if self._wait != before:
            self._credit = patience
            return None
        # Whoever does nothing runs out of time in `patience`; whoever keeps to the rate never.
        earned = max(0, self._done - done_before) / self._limits.bytes_per_second
        self._credit = min(patience, self._credit + earned) - elapsed
        return self._wait[0] if self._credit <= 0 else None

    def _waiting(self, *, crowded: bool) -> tuple[tuple[Wait, object] | None, int]:
        """What the client is to do, if anything, and a number that grows as it does it."""
        try:
            unsent = self.transport.get_write_buffer_size()
        except RuntimeError:
            # It has ended, and its protocol is about to be told.
            return None, 0
        if unsent:
            # What is new in it shows as a pause sooner or later, and then some was read before.
            return (Wait.ANSWER, self._pauses), -(unsent + self._unacknowledged())
        cycle = self._last_request()
        if cycle is None or cycle.response_complete:
            # Any byte ends uvicorn's own timer for idle connections.
            if cycle is None or self.timeout_keep_alive_task is None:
                return (Wait.HEAD, cycle), 0
            return ((Wait.IDLE, cycle) if crowded else None), 0
        is_read = not (self.flow.read_paused or cycle.waiting_for_100_continue)
        return ((Wait.BODY, cycle) if cycle.more_body and is_read else None), self._body_bytes

    def _last_request(self) -> RequestResponseCycle | None:
        # uvicorn's annotation leaves out that there is none at first.
        return self.cycle

    def _unacknowledged(self) -> int:
        """The bytes that the system has and the client has not.

        It takes the next ones by the megabyte, which on a slow line looks like standing still.
        """
        try:
            descriptor = self.transport.get_extra_info("socket").fileno()
            return int.from_bytes(ioctl(descriptor, TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def _reject(self, fault: Fault, data: bytes) -> None:
        """Take nothing more, and close once all that came before is answered."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        self._seen["not_http" if fault.code == "bad_request" else fault.code] += 1
        cycle = self._last_request()
        self._last_answer = last_answer = LastAnswer(self._last_answers, self.transport)
        if cycle is None or (cycle.response_complete and not self._in_body):
            origins = [value for name, value in self.headers or () if name == b"origin"]
            origin = origins[0] if len(origins) == 1 else None
            last_answer.refuse(fault, self._tail + data, origin)
        elif cycle.response_complete:
            # A second answer to that request would be taken for one to the next.
            last_answer.close()
        else:
            cycle.keep_alive = False
            cycle.transport = last_answer  # type: ignore[assignment]
            if self._in_body:
                # The edge refuses the request, as it does for all that it finds out itself.
                cycle.scope[FAULT] = fault  # type: ignore[literal-required]
                cycle.more_body = False
                cycle.message_event.set()
