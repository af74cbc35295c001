"""Reads the body of a request that asks for another protocol, but is served in HTTP/1.1.

httptools takes the bytes after the head of such a request for the other protocol. If a server does
not switch (RFC 9110, section 7.8), they are an ordinary body: Java's client sends its first request
this way.
"""

from collections.abc import Iterable

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body follows these headers of a request."""
    return any(name in _FRAMING for name, _ in headers)


def parser_behind_head(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """A parser for a body and the requests that follow it.

    The caller must feed it `stand_in()` first; the parser does not pass that head to the protocol.
    """
    parser = httptools.HttpRequestParser(_BehindHead(protocol))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def stand_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A minimal head that announces the same body as `headers`."""
    framing = [b"%s: %s\r\n" % header for header in headers if header[0] in _FRAMING]
    return b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing)


class _BehindHead:
    """Passes a parser's events to a protocol, except for the first head, which it already knows."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._is_known = True
        self.on_body = protocol.on_body

    def on_message_begin(self) -> None:
        if not self._is_known:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_known:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_known:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._is_known:
            self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_known = False
        self._protocol.on_message_complete()
