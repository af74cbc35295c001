"""Reads the head of a request once, and refuses an ambiguous one.

A proxy in front of the service may read an ambiguous head differently than this process does
(RFC 9112, section 11.2), and so let a request through that it would otherwise refuse.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from starlette.types import Scope

MAX_URL_BYTES = 2**16 - 1
"""The server's parser refuses a longer URL."""
MAX_HEADER_BYTES = 64 * 1024
_SMALL = 32 * 1024
"""A size that is within both limits, even though separators are not counted."""

FAULT = "strongroom.fault"
HEADERS = "strongroom.headers"
IS_HEAD = "strongroom.head"
OUTLET = "strongroom.outlet"
OPENED_AT = "strongroom.opened_at"
"""The keys in a scope: of a `Fault` that the server found, in the head or later in the body, of the
headers, of whether the method is HEAD, which routes see as GET, of what makes the `Outlet` of an
answer without an end, and of when such an answer began, as `time.perf_counter` tells."""


class Fault(NamedTuple):
    """Why a request is refused: an error code, and a sentence that says what to do."""

    code: str
    detail: str


def url_too_long(limit: int) -> Fault:
    """The fault of a URL with more than `limit` bytes."""
    return Fault("uri_too_long", f"a URL may have at most {limit} bytes")


def headers_too_large(limit: int) -> Fault:
    """The fault of headers with more than `limit` bytes."""
    return Fault("headers_too_large", f"headers may have at most {limit} bytes")


Headers = dict[bytes, bytes]
"""Headers by name in lower case; the values of a repeated header are joined by commas, those of
`cookie` by semicolons."""

_SINGLE = (b"host", b"authorization", b"content-length", b"content-type", b"origin")
"""Headers that must not be repeated, since another reader may use the other value."""
_VERSIONS = frozenset(("1.1", "1.0", "2", "3"))
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?"
)
"""A comma is not allowed, since another reader may take it for a separator of two hosts."""
_MAX_HOST_BYTES = 300
"""Enough for a host name, which has at most 253 bytes, and a port."""
_MAX_PORT = 65_535
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read_head(scope: Scope) -> tuple[Headers, Fault | None]:
    """The headers in `scope`, and the fault for which the request is refused, or `None`."""
    raw = scope["headers"]
    headers: Headers = dict(raw)
    # A server may leave out `raw_path`; it has then already decoded the path.
    path: bytes = scope.get("raw_path") or b""
    # Nearly all heads are valid, and every request pays for this check, so it is a cheap one.
    if (
        len(path) + len(scope["query_string"]) <= _SMALL
        and b"%" not in path
        and are_plain(headers, len(raw))
        and scope.get("http_version") == "1.1"
        and FAULT not in scope
    ):
        return headers, None
    return _examined(scope, path)


def are_plain(headers: Headers, sent: int) -> bool:
    """Whether these are certainly the headers of a valid request in HTTP/1.1, if the client has
    sent this many."""
    return (
        len(headers) == sent
        and len(b"".join([*headers, *headers.values()])) <= _SMALL
        and b"transfer-encoding" not in headers
        and b"host" in headers
        and _is_host(headers[b"host"])
    )


def headers_of(scope: Scope) -> Headers:
    """The headers that `read_head` gives, which the edge has left in the scope."""
    headers: Headers | None = scope.get(HEADERS)
    return headers if headers is not None else read_head(scope)[0]


def _examined(scope: Scope, path: bytes) -> tuple[Headers, Fault | None]:
    """The result of `read_head` for a head that may be wrong."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name, []).append(value)
    headers = {
        # RFC 9113, section 8.2.3: only the parts of cookies are joined in another way.
        name: (b"; " if name == b"cookie" else b", ").join(found)
        for name, found in values.items()
    }
    if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return headers, headers_too_large(MAX_HEADER_BYTES)
    # A caller that is not a server may leave out the version; the oldest one is assumed then.
    version = scope.get("http_version", "1.0")
    fault = (
        _path_fault(path, scope["query_string"])
        or _repeated(values)
        or _version_fault(version, headers)
        or _framing_fault(version, headers)
        # Last, because a fault in the body may follow from a fault in the head.
        or scope.get(FAULT)
    )
    return headers, fault


def _repeated(values: dict[bytes, list[bytes]]) -> Fault | None:
    for name in _SINGLE:
        if len(values.get(name, ())) > 1:
            return Fault("bad_request", f"send the header {name.decode()} once")
    return None


def _is_host(value: bytes) -> bool:
    return len(value) <= _MAX_HOST_BYTES and _looks_like_host(value)


@lru_cache(1024)
def _looks_like_host(value: bytes) -> bool:
    host = _HOST.fullmatch(value)
    if host is None or int(host[2] or 0) > _MAX_PORT:
        return False
    try:
        return host[1] is None or bool(IPv6Address(host[1].decode()))
    except AddressValueError:
        return False


def host_without_port(host: str) -> str:
    """The name or address in the value of a `Host` header."""
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def port_of(host: bytes) -> int | None:
    """The port in the value of a `Host` header; `None` without one."""
    _, colon, port = host.rpartition(b":")
    return int(port) if colon and port.isdigit() else None


def _path_fault(path: bytes, query: bytes) -> Fault | None:
    """The fault of the URL, or `None`."""
    if len(path) + len(query) > MAX_URL_BYTES:
        return url_too_long(MAX_URL_BYTES)
    if _ENCODED_SLASH.search(path):
        return Fault(
            "bad_request", "names in a path can't contain a slash: leave %2F out of the path"
        )
    if _NO_ESCAPE.search(path):
        return Fault("bad_request", "write a percent sign in a path as %25")
    return None


def _version_fault(version: str, headers: Headers) -> Fault | None:
    """The fault of the HTTP version or of the `Host` header, or `None`."""
    if version not in _VERSIONS:
        return Fault("bad_request", "send the request in HTTP/1.1")
    host = headers.get(b"host")
    if host is None:
        return Fault("bad_request", "send the header Host") if version == "1.1" else None
    if not _is_host(host):
        return Fault("bad_request", "the header Host must be a host, with or without a port")
    return None


def _framing_fault(version: str, headers: Headers) -> Fault | None:
    """The fault in how the request marks the end of its body, or `None`."""
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return None
    if b"content-length" in headers:
        return Fault("bad_request", "send Content-Length or Transfer-Encoding, not both")
    if version == "1.0" or coding.strip().lower() != b"chunked":
        return Fault("bad_request", "the only Transfer-Encoding accepted is chunked, in HTTP/1.1")
    return None
