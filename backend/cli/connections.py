"""Clients that are slow, and clients that are too many: closed before others notice.

uvicorn lets a client take as long as it likes for its headers, its body, and reading its answer.
Here each connection is looked at once in a while, from the timer that uvicorn has anyway, and
judged by what uvicorn knows of it: a request costs no timer, and nothing to start or to cancel.
"""

import sys
import time
from asyncio import Transport
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from backend.dependencies import problem
from backend.edge import SECURITY_HEADERS
from backend.log import get_logger
from backend.request_ids import new_request_id

logger = get_logger("strongroom.connections")

_LOOKS = 10
"""How often a connection is looked at in the time that it has."""
_PATIENCE = 0.75
"""The part of its time that the looks give a client. A wait has begun up to one look before it is
seen, and is over up to one look after its time: the rest covers both, and a late timer."""
_CROWDED = 0.75
"""The part of all connections from which on idle ones have no more time than the others."""
_SECONDS_BETWEEN_WARNINGS = 60.0
TOO_MANY = "too_many"


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
    head_bytes: int = 64 * 1024
    """Headers that are not whole after so many bytes are answered 431."""


class Wait(StrEnum):
    """What the server waits for a client to do: send a head or a body, read an answer, or, while
    connections are few, anything at all."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"


class Connection(HttpToolsProtocol):
    """A connection whose client has limits."""

    def __init__(self, limits: ConnectionLimits, seen: Counter[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._seen = seen
        self._wait: tuple[Wait, object] | None = None
        """What is waited for since the last look, and a mark that changes with each new wait."""
        self._done = 0
        self._credit = 0.0
        self._body_bytes = 0
        self._head_bytes = 0
        self._pauses = 0
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it when there are too many."""
        if len(self.connections) < self._limits.connections:
            super().connection_made(transport)
            return
        self.transport = transport
        self._seen[TOO_MANY] += 1
        self._refuse("too_many_connections", "try again in a moment", {"Retry-After": "1"})

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        if self._running is not None:
            # uvicorn tells the last of several requests that came together, whichever is served.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent."""
        cycle, body_bytes = self.cycle, self._body_bytes
        self._parse(data)
        if self.cycle is not cycle or self._body_bytes != body_bytes:
            self._head_bytes = 0
            return
        # Nothing else bounds headers and trailers, which the parser keeps until they are whole.
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes and not self.transport.is_closing():
            limit = self._limits.head_bytes
            self._seen["headers_too_large"] += 1
            self._refuse("headers_too_large", f"headers may have at most {limit} bytes")

    def _parse(self, data: bytes) -> None:
        """What uvicorn does with it, but for a warning each time: strangers would fill the log."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._seen["not_http"] += 1
            self.send_400_response("")
        except httptools.HttpParserUpgrade:
            # The request is served without it, as any server may.
            self._seen["upgrade"] += 1

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """End a request."""
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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Refuse what is no HTTP."""
        self._refuse("bad_request", "this is no HTTP request")

    def _refuse(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a problem document where there is no request, and close."""
        cycle = self._last_request()
        if cycle is not None and not cycle.response_complete:
            # The answer to that request may be under way: nothing can be put into it.
            self.transport.abort()
            return
        request_id = new_request_id()
        headers = {**(headers or {}), "X-Request-ID": request_id, "Connection": "close"}
        answer = problem(request_id, code, detail, headers=headers)
        lines = [b"%s: %s\r\n" % header for header in (*answer.raw_headers, *SECURITY_HEADERS)]
        self.transport.write(
            b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])
        )
        self.transport.close()


class Connections:
    """All connections of a server."""

    def __init__(
        self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self.seen: Counter[str] = Counter()
        """What clients did that none should, how often since the start."""
        self._told: Counter[str] = Counter()
        self._last_look = clock()
        self._last_warning = -_SECONDS_BETWEEN_WARNINGS

    def make(self, **arguments: Any) -> Connection:
        """A protocol for a new connection; the arguments are uvicorn's."""
        return Connection(self._limits, self.seen, **arguments)

    def look(self, connections: Iterable[Connection]) -> None:
        """Close those whose clients have used up their time. To be called often."""
        now = self._clock()
        between = self._limits.seconds / _LOOKS
        elapsed = now - self._last_look
        if elapsed < between:
            return
        # While the process itself stood still, what clients had sent was not read.
        elapsed = min(elapsed, 2 * between)
        self._last_look = now
        self._tell(now)
        looked_at = list(connections)
        crowded = len(looked_at) >= self._limits.connections * _CROWDED
        closed: Counter[str] = Counter()
        for connection in looked_at:
            wait = connection.overdue(elapsed, crowded=crowded)
            if wait is not None:
                # Not an orderly close, which would wait for what is written to be read. Nothing
                # is answered: a 408 that crosses a request would be taken for its answer.
                connection.transport.abort()
                closed[wait] += 1
        if closed:
            self.seen["slow"] += closed.total()
            logger.info("slow clients closed", **closed)

    def _tell(self, now: float) -> None:
        """Say what was seen, in a line for all of it, and not often: it is strangers who cause it,
        as fast as they like."""
        if now - self._last_warning < _SECONDS_BETWEEN_WARNINGS:
            return
        untold = self.seen - self._told
        # Those were told when they were closed.
        del untold["slow"]
        if not untold:
            return
        if untold[TOO_MANY]:
            logger.warning(
                "connections refused: there are as many as STRONGROOM_MAX_CONNECTIONS permits",
                refused=untold[TOO_MANY],
                limit=self._limits.connections,
            )
        others = {kind: count for kind, count in untold.items() if kind != TOO_MANY}
        if others:
            logger.warning("clients sent what is no request that is served here", **others)
        self._last_warning = now
        self._told = self.seen.copy()
