"""The target of a request: the part of its first line that names the resource."""

import re
from typing import NamedTuple

from backend.http.request_head import Fault

_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)


class Target(NamedTuple):
    """What a request's target says."""

    url: bytes
    """The path and the query, or a form that the URL parser refuses."""
    host: bytes | None = None
    """The host of an absolute URL, which replaces the `Host` header (RFC 9112, 3.2.2)."""
    fault: Fault | None = None


def read_target(url: bytes, method: bytes) -> Target:
    """The target of a request with this `method`, whose URL does not begin with a slash."""
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is not None:
        host, path = absolute.groups()
        return Target(path if path.startswith(b"/") else b"/" + path, host)
    if b"://" in url:
        # A proxy that relies on the Host header would take it for another URL.
        return _faulty(url, "an absolute URL must be http or https and have a host")
    if url == b"*" and method != b"OPTIONS":
        return _faulty(url, "the URL * is only for OPTIONS")
    return Target(url)


def _faulty(url: bytes, detail: str) -> Target:
    return Target(url, fault=Fault("bad_request", detail))
