"""Lets pages of the configured origins call the service from a browser."""

import re
from collections.abc import Mapping, Sequence

from starlette.responses import Response

from backend.http.request_head import Fault

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EXPOSED = ("ETag", "Location", "Link", "Retry-After", "X-Request-ID", "Idempotency-Replayed")
"""The response headers that a page may read in addition to those that CORS always exposes."""
_MAX_AGE_SECONDS = 3600
_HEADER_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]*")

RawHeaders = list[tuple[bytes, bytes]]
_VARY = (b"vary", b"Origin")
_VARY_OF_PREFLIGHTS = (
    b"vary",
    b"Access-Control-Request-Method, Access-Control-Request-Headers",
)


class CrossOrigin:
    """Answers preflights, and lets pages of the permitted origins read the answers."""

    def __init__(self, origins: Sequence[str]) -> None:
        """`*` among the origins permits every origin."""
        self._every = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, origin: bytes | None) -> RawHeaders:
        """The headers of every answer to a page of `origin`."""
        if not self._permits(origin):
            return [_VARY]
        return [
            _VARY,
            # Never `*`, which browsers refuse for a request with credentials.
            (b"access-control-allow-origin", origin or b""),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
        ]

    def preflight(self, headers: Mapping[bytes, bytes]) -> Response | Fault | None:
        """The answer to a preflight; `None` when the request is not a preflight.

        The caller must add `headers()` to the answer.
        """
        method = headers.get(b"access-control-request-method")
        origin = headers.get(b"origin")
        if method is None or origin is None:
            return None
        if not self._permits(origin):
            return Fault(
                "bad_request",
                "pages from this origin may not call the service: see STRONGROOM_CORS_ORIGINS",
            )
        if method.decode("latin-1") not in METHODS:
            return Fault("bad_request", f"a page may send {', '.join(METHODS)}, in capital letters")
        asked = headers.get(b"access-control-request-headers", b"")
        if not _HEADER_NAMES.fullmatch(asked):
            return Fault(
                "bad_request", "Access-Control-Request-Headers must be a list of header names"
            )
        answer = Response(status_code=200)
        answer.raw_headers += [
            _VARY_OF_PREFLIGHTS,
            (b"access-control-allow-methods", ", ".join(METHODS).encode()),
            (b"access-control-max-age", str(_MAX_AGE_SECONDS).encode()),
        ]
        if asked:
            answer.raw_headers.append((b"access-control-allow-headers", asked))
        if b"access-control-request-private-network" in headers:
            answer.raw_headers.append((b"access-control-allow-private-network", b"true"))
        return answer

    def _permits(self, origin: bytes | None) -> bool:
        return origin is not None and (self._every or origin in self._origins)
