"""Answers with which connections end.

Closing a connection resets it while its client still sends, and takes an answer along that was not
read yet. So only the writing ends at first, and what still comes is dropped for a moment (RFC 9112,
section 9.6). A browser shows an answer to a page only when it names the page's origin, which may
stand behind what is wrong: so a refusal waits a moment for the end of the headers.
"""

import asyncio
import re
from asyncio import Transport
from collections.abc import Callable, Mapping
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from backend.http.cross_origin import CrossOrigin
from backend.http.edge import SECURITY_HEADERS
from backend.http.problems import problem
from backend.http.request_head import Fault
from backend.observability.request_ids import new_request_id

TAIL_BYTES = 1024
"""What is kept of headers that came before: an origin is shorter."""
_ORIGIN = re.compile(rb"\norigin:[ \t]*([!-~]+)[ \t]*(?=\r?\n)", re.IGNORECASE)
_END_OF_HEADERS = re.compile(rb"[^\r\n]\r?\n\r?\n")

RawHeaders = list[tuple[bytes, bytes]]


class Patience(NamedTuple):
    """How long a client has before its last answer and after it."""

    at_once: int = 64
    """The clients that have any. One more is closed as soon as it is answered."""
    seconds_before: float = 0.5
    seconds_after: float = 2.0
    dropped_bytes: int = 16 * 1024 * 1024
    """More is not read, neither before the answer nor after it."""


class LastAnswers:
    """The last answers of a server that are on their way."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.cross_origin: CrossOrigin | None = None
        """The origins whose pages can read refusals; None for no origins."""
        self.open = 0

    def headers(self, origin: bytes | None) -> RawHeaders:
        """What a refusal carries, whatever it says."""
        of_pages = [] if self.cross_origin is None else self.cross_origin.headers(origin)
        return [*of_pages, *SECURITY_HEADERS]


class LastAnswer:
    """The last answer over a connection, from before it is written until the connection is closed.

    Either `refuse()` writes it, or a request that is being served, which takes this object for its
    transport.
    """

    def __init__(self, answers: LastAnswers, transport: Transport) -> None:
        self._answers = answers
        self._transport = transport
        self._is_patient = answers.open < answers.patience.at_once
        self._refusal: tuple[Fault, Mapping[str, str]] | None = None
        """What is still to be written."""
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

        Which page it is for is looked for in the bytes that were received, unless `origin` says so,
        and then in those that come.
        """
        self._refusal = fault, headers or {}
        if origin is not None or self._answers.cross_origin is None or not self._is_patient:
            self._write_refusal(origin or _origin_in(received))
            return
        self.hear(received)
        if self._refusal is not None:
            self._call_later(self._answers.patience.seconds_before, self.refuse_now)

    def refuse_now(self) -> None:
        """Write the refusal, if there is one still, although it is not known which page asks."""
        self._write_refusal(None)

    def hear(self, data: bytes) -> None:
        """Take what the client still sends."""
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
        """Told that the connection is closed."""
        self._answers.open -= 1
        if self._timer is not None:
            self._timer.cancel()

    def write(self, data: bytes) -> None:
        """Write a part of the answer."""
        self._transport.write(data)

    def close(self) -> None:
        """Write nothing more, and close in a moment."""
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
    """The origin in a part of a head; None when there is none, or more than one."""
    found = set(_ORIGIN.findall(text))
    return found.pop() if len(found) == 1 else None
