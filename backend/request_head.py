"""The head of a request: read once, and refused unless it can be understood in one way only.

What stands in front of the service may read a doubtful head in another way than this process does
(RFC 9112, section 11.2), and so let through what it would not.
"""

import re
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

MAX_URL_BYTES = 2**16 - 1
"""The server's parser takes no longer one."""
MAX_HEADER_BYTES = 64 * 1024

FAULT = "strongroom.fault"
"""The member of a scope that has a `Fault` which only the server saw, in the head or, while it is
read, in the body."""


class Fault(NamedTuple):
    """Why a request is refused: an error code, and what to do."""

    code: str
    detail: str


def url_too_long(limit: int) -> Fault:
    """The fault of a URL with more than `limit` bytes."""
    return Fault("uri_too_long", f"a URL may have at most {limit} bytes")


def headers_too_large(limit: int) -> Fault:
    """The fault of headers with more than `limit` bytes."""
    return Fault("headers_too_large", f"headers may have at most {limit} bytes")


class Head(NamedTuple):
    """What the head of a request says."""

    headers: dict[bytes, bytes]
    """The headers that the edge looks at, by name in lower case; a repeated one is a list."""
    fault: Fault | None
    """Why it is refused; None when it is in order."""


_SINGLE = frozenset((b"host", b"authorization", b"content-length", b"content-type", b"origin"))
"""Of two of them, another reader may take the other one."""
_NOTED = _SINGLE | {
    b"accept-encoding",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"access-control-request-private-network",
    b"sec-fetch-site",
    b"transfer-encoding",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-request-id",
}
_VERSIONS = frozenset(("1.1", "1.0", "2", "3"))
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
)
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)


def read_head(scope: Scope) -> Head:
    """The head of the request that `scope` describes."""
    noted: dict[bytes, bytes] = {}
    repeated = b""
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        if name in _NOTED:
            if name in noted:
                if name in _SINGLE:
                    repeated = name
                noted[name] += b", " + value
            else:
                noted[name] = value
    if repeated:
        return Head(noted, Fault("bad_request", f"send the header {repeated.decode()} once"))
    return Head(noted, scope.get(FAULT) or _line_fault(scope) or _header_fault(scope, noted, size))


def host_without_port(host: str) -> str:
    """The name or address in the value of a `Host` header."""
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def _line_fault(scope: Scope) -> Fault | None:
    """What is wrong with the request line."""
    if scope["http_version"] not in _VERSIONS:
        return Fault("bad_request", "send the request in HTTP/1.1")
    # A server may leave it out, and then has decoded the path already.
    path: bytes = scope.get("raw_path") or b""
    if len(path) + len(scope["query_string"]) > MAX_URL_BYTES:
        return url_too_long(MAX_URL_BYTES)
    if b"%" not in path:
        return None
    if _ENCODED_SLASH.search(path):
        return Fault("bad_request", "no name in a path has a slash: leave %2F out of the path")
    try:
        if "\0" not in unquote_to_bytes(path).decode("utf-8"):
            return None
    except UnicodeDecodeError:
        pass
    return Fault("bad_request", "write the path in percent-encoded UTF-8, without NUL")


def _header_fault(scope: Scope, noted: dict[bytes, Any], size: int) -> Fault | None:
    """What is wrong with the headers, which have so many bytes."""
    if size > MAX_HEADER_BYTES:
        return headers_too_large(MAX_HEADER_BYTES)
    host = noted.get(b"host")
    if host is None:
        if scope["http_version"] == "1.1":
            return Fault("bad_request", "send the header Host")
    elif not _HOST.fullmatch(host):
        return Fault("bad_request", "the header Host is no host with a port or without one")
    coding = noted.get(b"transfer-encoding")
    if coding is None:
        return None
    if b"content-length" in noted:
        return Fault("bad_request", "send Content-Length or Transfer-Encoding, not both")
    if scope["http_version"] == "1.0" or coding.strip().lower() != b"chunked":
        return Fault("bad_request", "the only Transfer-Encoding is chunked, in HTTP/1.1")
    return None
