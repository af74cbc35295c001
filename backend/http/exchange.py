"""One request and its answer, as the edge sees them."""

import re
import time
from functools import cache

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import BadRequest, BodyTooLarge, HeadersTooLarge
from backend.http.closing_answer import ClosingAnswer
from backend.http.cross_origin import CrossOrigin
from backend.http.entity_tags import IF_NONE_MATCH, headers_of_304, is_tag_known
from backend.http.json_answer import JsonAnswer
from backend.http.kept_answers import OFFER, KeptAnswer, KeptAnswers, Offer, RawHeaders
from backend.http.request_head import FAULT, HEADERS, IS_HEAD, Fault, read_head
from backend.http.route_policy import BodyLimits
from backend.http.whole_requests import AnswerLines, WholeRequest
from backend.observability.request_ids import new_request_id

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_GZIP_REFUSED = re.compile(rb"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    # Only /docs is meant to be shown as a page. Any other answer shown as one can do nothing.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # An answer that needed a token must not reach the next user of a shared cache.
    (b"cache-control", b"no-store"),
)
"""The headers of every answer, unless its route sets them itself. Strict-Transport-Security is
missing because only the proxy that ends TLS knows whether there is TLS."""
_OWN_HEADERS = frozenset({b"content-security-policy", b"cache-control"})
_ERRORS = {error.code: error for error in (BadRequest, HeadersTooLarge)}
"""The errors for faults that the server finds in a body."""
GZIP_FROM_BYTES = 8 * 1024
"""Larger answers are compressed, if the client accepts that."""
_PLAIN = (JsonAnswer, Response)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def takes_gzip(accepted: bytes) -> bool:
    """Whether a client with this `Accept-Encoding` accepts gzip."""
    return b"gzip" in accepted and not _GZIP_REFUSED.search(accepted)


def request_id(given: bytes | None) -> str:
    """The id of a request with this `X-Request-ID`: the client's own if it is short and plain."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return new_request_id()


def security_headers(headers: RawHeaders) -> tuple[tuple[bytes, bytes], ...]:
    """The security headers of an answer with these headers of its own. Always the same object for
    the same ones, because their lines are remembered."""
    own = [name for name, _ in headers if name in _OWN_HEADERS]
    return _others(*own) if own else SECURITY_HEADERS


@cache
def _others(*own: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(header for header in SECURITY_HEADERS if header[0] not in own)


VARIES = (b"vary", b"Accept-Encoding")


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_body_limits",
        "_cross_origin",
        "_has_304",
        "_kept",
        "_max_body_bytes",
        "_original_scope",
        "_receive",
        "_send",
        "_to_keep",
        "began",
        "declared_length",
        "fault",
        "headers",
        "method",
        "received",
        "request_id",
        "scope",
        "started",
        "status",
        "takes_gzip",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        max_body_bytes: int,
        body_limits: BodyLimits,
        cross_origin: CrossOrigin | None,
        kept: KeptAnswers | None,
    ) -> None:
        self.began = time.perf_counter()
        self._receive = receive
        self._send = send
        self._max_body_bytes = max_body_bytes
        self._body_limits = body_limits
        self._cross_origin = cross_origin
        self._kept = kept
        self._to_keep: tuple[RawHeaders, RawHeaders] | None = None
        self._has_304 = False
        # Metrics need few labels, so a method that a client made up is not one.
        self.method = scope["method"] if scope["method"] in _METHODS else "-"
        self.received = 0
        self.started = False
        self.status = 499
        """The answer's status; 499 if the client went away before there was one."""
        self.headers, self.fault = read_head(scope)
        headers = self.headers
        length = headers.get(b"content-length")
        # Python refuses to read a number with thousands of digits.
        self.declared_length = int(length[:20]) if length and length.isdigit() else 0
        accepted = headers.get(b"accept-encoding")
        self.takes_gzip = accepted is not None and takes_gzip(accepted)
        self.request_id = request_id(headers.get(b"x-request-id"))
        scope["strongroom.request_id"] = self.request_id
        scope[HEADERS] = headers
        # The server's own scope, where it stores a fault that it finds later.
        self._original_scope = scope
        if self.method == "HEAD":
            # HEAD is handled like GET; the server leaves the body out.
            scope = {**scope, "method": "GET", IS_HEAD: True}
        self.scope = scope

    def closing(self, answer: Response) -> ASGIApp:
        """The answer, after which the connection closes."""
        return ClosingAnswer(answer, self._receive, self._max_body_bytes)

    def is_too_large(self, size: int) -> bool:
        """Whether a body of `size` bytes is too large for this route."""
        if size <= self._max_body_bytes:
            return False
        # The route's limit is looked up only here, so that small bodies cost nothing extra.
        declared = self.headers.get(b"content-type", b"")
        limit = self._body_limits.of(self.method, self.scope["path"], declared)
        self._max_body_bytes = max(self._max_body_bytes, limit)
        return size > self._max_body_bytes

    async def receive(self) -> Message:
        message = await self._receive()
        if FAULT in self._original_scope:
            fault: Fault = self._original_scope[FAULT]
            raise _ERRORS[fault.code](fault.detail)
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            if self.is_too_large(self.received):
                raise BodyTooLarge(self.too_large())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = message["headers"]
            last_headers = security_headers(headers)
            if self._kept is not None and OFFER in self.scope and self.status == 200:
                self._to_keep = list(headers), list(last_headers)
            if self._is_known(self.status, headers):
                self._has_304, self.status, headers = True, 304, headers_of_304(headers)
                message = {**message, "status": 304, "headers": headers}
            headers.append((b"x-request-id", self.request_id.encode()))
            if self._cross_origin is not None:
                headers.extend(self._cross_origin.headers(self.headers.get(b"origin")))
            headers.extend(last_headers)
        else:
            if self._to_keep is not None:
                self._keep(*self._to_keep, message)
            if self._has_304:
                message = {**message, "body": b""}
        await self._send(message)

    def _is_known(self, status: int, headers: RawHeaders) -> bool:
        """Whether the client has the answer with these headers already, so that 304 is enough."""
        return (
            IF_NONE_MATCH in self.headers
            and status == 200
            and self.scope["method"] == "GET"
            and is_tag_known(self.headers[IF_NONE_MATCH], headers)
        )

    def whole(self, answer: Response, lines: AnswerLines, request: WholeRequest) -> bytes | None:
        """All bytes of an answer, which the caller has to send; `None` if it needs ASGI's
        messages."""
        # Other classes send their answers themselves.
        if type(answer) not in _PLAIN or answer.background is not None:
            return None
        headers, status = answer.raw_headers, answer.status_code
        may_keep = self._kept is not None and OFFER in self.scope and status == 200
        has_304 = self._is_known(status, headers)
        is_compressed = self.takes_gzip and len(answer.body) >= GZIP_FROM_BYTES
        if is_compressed and (may_keep or not has_304):
            return None
        last_headers = security_headers(headers)
        added = [(b"x-request-id", self.request_id.encode())]
        if self._cross_origin is not None:
            added += self._cross_origin.headers(self.headers.get(b"origin"))
        if has_304:
            if is_compressed:
                added.append(VARIES)
            sent = lines.not_modified(answer, request.server_headers, added, last_headers)
        else:
            sent = lines.whole(answer, request.server_headers, added, last_headers)
        if sent is not None:
            self.started = True
            self.status = 304 if has_304 else status
            if may_keep:
                self._to_keep = list(headers), list(last_headers)
                self._keep(*self._to_keep, {"type": "http.response.body", "body": answer.body})
        return sent

    def _keep(self, headers: RawHeaders, last_headers: RawHeaders, message: Message) -> None:
        """Keep the answer whose body is in `message`."""
        self._to_keep = None
        is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._kept is not None and is_whole:
            offer: Offer = self.scope[OFFER]
            audience = offer.project_ids, self.takes_gzip
            body = bytes(message.get("body", b""))
            answer = KeptAnswer(offer.scopes, offer.template, headers, last_headers, body)
            self._kept.keep(self.scope, audience, offer, answer)

    def too_large(self) -> str:
        """The message for a body that is too large."""
        return f"the body may have at most {self._max_body_bytes} bytes"
