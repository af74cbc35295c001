"""Answers in one piece, for requests whose body has arrived as a whole.

ASGI's messages let a body and an answer come in parts. A request that needs no parts spends a third
of the event loop's time on them.
"""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.http.entity_tags import headers_of_304
from backend.http.kept_answers import RawHeaders, header_lines
from backend.http.streams.outlets import Outlet

LastHeaders = tuple[tuple[bytes, bytes], ...]

_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LEFT_TO_THE_SERVER = frozenset({b"connection", b"transfer-encoding"})
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


class WholeRequest(Protocol):
    """A request that the server has received as a whole."""

    @property
    def server_headers(self) -> RawHeaders:
        """The headers that the server adds to every answer."""
        ...

    def take_body(self) -> bytes:
        """The body. To be called once, and then instead of `receive`."""
        ...

    def may_write(self) -> bool:
        """Whether the answer may be written at once, and the connection stays open."""
        ...

    def write(self, answer: bytes) -> None:
        """Write all bytes of the answer, if it may be written, and end the request."""
        ...

    def outlet(self) -> Outlet:
        """Where an answer without an end is written to, behind its head. The connection closes
        after it."""
        ...


TakesWhole = Callable[[WholeRequest, Scope, Receive, Send], Awaitable[None]]


class AnswerLines:
    """Makes the bytes of answers in HTTP/1.1. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._server_headers: RawHeaders | None = None
        self._server_lines = b""
        self._last: dict[int, tuple[LastHeaders, bytes]] = {}

    def of_server(self, headers: RawHeaders) -> bytes:
        """The headers of the server as lines."""
        if headers is not self._server_headers:
            # A new list each second, because of the date in it.
            self._server_headers = headers
            self._server_lines = header_lines(headers)
        return self._server_lines

    def whole(
        self,
        answer: Response,
        server_headers: RawHeaders,
        added: RawHeaders,
        last: LastHeaders,
    ) -> bytes | None:
        """All bytes of an answer: the headers of the server, its own, the `added` and the `last`
        ones, and its body. `None` if only the server knows how to send it."""
        lines = []
        has_length = False
        for header in answer.raw_headers:
            name, value = header
            if name == b"content-length":
                has_length = True
            elif name in _LEFT_TO_THE_SERVER or _NOT_IN_A_VALUE.search(value):
                return None
            lines.append(b"%s: %s\r\n" % header)
        status_line = _STATUS_LINES.get(answer.status_code)
        if not has_length or status_line is None:
            return None
        return b"".join(
            [
                status_line,
                self.of_server(server_headers),
                *lines,
                *(b"%s: %s\r\n" % header for header in added),
                self._of_last(last),
                b"\r\n",
                answer.body,
            ]
        )

    def not_modified(
        self,
        answer: Response,
        server_headers: RawHeaders,
        added: RawHeaders,
        last: LastHeaders,
    ) -> bytes | None:
        """All bytes of the answer 304 that stands for `answer`, as `whole` makes them."""
        headers = headers_of_304(answer.raw_headers)
        for name, value in headers:
            if name in _LEFT_TO_THE_SERVER or _NOT_IN_A_VALUE.search(value):
                return None
        return b"".join(
            [
                _STATUS_LINES[304],
                self.of_server(server_headers),
                header_lines(headers),
                header_lines(added),
                self._of_last(last),
                b"\r\n",
            ]
        )

    def _of_last(self, last: LastHeaders) -> bytes:
        """The last headers as lines. There are few different ones, always in the same tuple."""
        known = self._last.get(id(last))
        if known is None or known[0] is not last:
            known = self._last[id(last)] = last, header_lines(last)
        return known[1]
