"""The last answer on a connection, before the server closes it.

Closing a connection while its client still sends would reset it, and lose an unread answer. So the
server first ends only its own writing, and drops further input for a moment (RFC 9112, section
9.6). A browser shows an answer to a page only if it names the page's origin, and the origin may
come after the fault: so a refusal waits a moment for the end of the headers.
"""

import asyncio
import re
from asyncio import Transport
from collections.abc import Callable, Mapping
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from backend.http.cross_origin import CrossOrigin
from backend.http.exchange import SECURITY_HEADERS
from backend.http.problems import problem
from backend.http.request_head import Fault
from backend.observability.request_ids import new_request_id

TAIL_BYTES = 1024
"""The number of bytes kept of earlier headers; an origin is shorter."""
_ORIGIN = re.compile(rb"\norigin:[ \t]*([!-~]+)[ \t]*(?=\r?\n)", re.IGNORECASE)
_END_OF_HEADERS = re.compile(rb"[^\r\n]\r?\n\r?\n")

RawHeaders = list[tuple[bytes, bytes]]


class Patience(NamedTuple):
    """How long the server waits for a client before and after its last answer."""

    at_once: int = 64
    """The number of clients it waits for at once. Others are closed right after their answer."""
    seconds_before: float = 0.5
    seconds_after: float = 2.0
    dropped_bytes: int = 16 * 1024 * 1024
    """The server reads no more than this, before and after the answer together."""


class LastAnswers:
    """The last answers of a server that are in progress."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.cross_origin: CrossOrigin | None = None
        """The origins whose pages can read refusals; `None` for no origins."""
        self.open = 0

    def headers(self, origin: bytes | None) -> RawHeaders:
        """The headers of every refusal."""
        of_pages = [] if self.cross_origin is None else self.cross_origin.headers(origin)
        return [*of_pages, *SECURITY_HEADERS]


class LastAnswer:
    """The last answer on a connection. It exists until the connection is closed.

    Either `refuse()` writes the answer, or a request that is being served writes it and uses this
    object as its transport.
    """

    def __init__(self, answers: LastAnswers, transport: Transport) -> None:
        self._answers = answers
        self._transport = transport
        self._is_patient = answers.open < answers.patience.at_once
        self._refusal: tuple[Fault, Mapping[str, str]] | None = None
        """The refusal that is still to be written."""
        self._tail = b""
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        answers.open += 1

    def refuse(
        self,
        fault: Fault,
        received: bytes = b"",
        origin: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a problem document and close.

        Without `origin`, the page's origin is looked for in the received bytes, and then in the
        bytes that follow.
        """
        self._refusal = fault, headers or {}
        if origin is not None or self._answers.cross_origin is None or not self._is_patient:
            self._write_refusal(origin or _origin_in(received))
            return
        self.hear(received)
        if self._refusal is not None:
            self._call_later(self._answers.patience.seconds_before, self.refuse_now)

    def refuse_now(self) -> None:
        """Write the pending refusal, if there is one, without knowing the page's origin."""
        self._write_refusal(None)

    def hear(self, data: bytes) -> None:
        """Process further bytes from the client."""
        self._received += len(data)
        if self._received > self._answers.patience.dropped_bytes:
            self.refuse_now()
            self._transport.close()
        elif self._refusal is not None:
            text = self._tail + data
            origin = _origin_in(text)
            if origin is not None or _END_OF_HEADERS.search(text):
                self._write_refusal(origin)
            self._tail = text[-TAIL_BYTES:]

    def end(self) -> None:
        """Called when the connection is closed."""
        self._answers.open -= 1
        if self._timer is not None:
            self._timer.cancel()

    def write(self, data: bytes) -> None:
        """Write a part of the answer."""
        self._transport.write(data)

    def close(self) -> None:
        """Stop writing, and close after a moment."""
        if self._is_patient and not self._transport.is_closing():
            self._transport.write_eof()
            self._call_later(self._answers.patience.seconds_after, self._transport.close)
        else:
            self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing can be written."""
        return self._transport.is_closing()

    def _write_refusal(self, origin: bytes | None) -> None:
        if self._refusal is None or self._transport.is_closing():
            return
        (fault, headers), self._refusal = self._refusal, None
        request_id = new_request_id()
        headers = {**headers, "X-Request-ID": request_id, "Connection": "close"}
        answer = problem(request_id, fault.code, fault.detail, headers=headers)
        all_headers = (*answer.raw_headers, *self._answers.headers(origin))
        lines = [b"%s: %s\r\n" % header for header in all_headers]
        self.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
        self.close()

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, callback)


def _origin_in(text: bytes) -> bytes | None:
    """The origin in a part of a head; `None` when there is none, or more than one."""
    found = set(_ORIGIN.findall(text))
    return found.pop() if len(found) == 1 else None
