"""Where a request comes in and its answer goes out: one plain ASGI middleware.

Gives the request its id, bounds its body, catches what nobody caught, compresses large answers,
and writes the one access line.
"""

import asyncio
import re
import time
from collections.abc import Sequence

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.access import BODY_LIMITS
from backend.cross_origin import CrossOrigin
from backend.dependencies import problem
from backend.errors import BodyTooLarge
from backend.log import get_logger, log_access
from backend.request_ids import enter_request, leave_request, new_request_id
from backend.request_metrics import RequestMetrics
from backend.trusted_hosts import UNTRUSTED_HOST, TrustedHosts
from database.errors import CommitOutcomeUnknown

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GZIP_FROM_BYTES = 8 * 1024
_BODY_LIMITS = tuple(
    (method, re.compile(re.sub(r"\{[^}]*\}", "[^/]+", template)), limit)
    for (method, template), limit in BODY_LIMITS.items()
)
_GZIP_REFUSED = re.compile(rb"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    # An answer that a browser shows as a page, which none but /docs is meant to be, does nothing.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # What is behind a token is not for whoever uses the cache next.
    (b"cache-control", b"no-store"),
)
"""What every answer has, unless its route sets the header itself. Strict-Transport-Security is not
here: whether there is TLS is known to the proxy that ends it."""
_OWN_HEADERS = frozenset({b"content-security-policy", b"cache-control"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

error_log = get_logger("strongroom.error")


def body_limit(method: str, path: str) -> int:
    """The bytes that this route takes by a rule of its own; 0 when it has none."""
    for own_method, form, limit in _BODY_LIMITS:
        if method == own_method and form.fullmatch(path):
            return limit
    return 0


class Edge:
    """The outermost part of the application that is ours."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        metrics: RequestMetrics,
        cors_origins: Sequence[str] = (),
        trusted_hosts: Sequence[str] = (),
    ) -> None:
        self._refusal: ASGIApp = _send_refusal
        if cors_origins:
            app = CrossOrigin(app, cors_origins)
            # A page may read why it was refused, too.
            self._refusal = CrossOrigin(_send_refusal, cors_origins)
        self._plain = app
        # For clients that take gzip only: it would cost all the others a layer for nothing.
        self._gzip = GZipMiddleware(app, minimum_size=_GZIP_FROM_BYTES, compresslevel=5)
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics
        self._trusted_hosts = TrustedHosts(trusted_hosts) if trusted_hosts else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._plain(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._max_body_bytes)
        token = enter_request(exchange.request_id)
        try:
            if self._trusted_hosts is not None and not self._trusted_hosts.permit(scope):
                await self._refuse(exchange, "bad_request", UNTRUSTED_HOST)
            elif exchange.is_too_large(exchange.declared_length):
                await self._refuse(exchange, "body_too_large", exchange.too_large())
            else:
                app = self._gzip if exchange.takes_gzip else self._plain
                await app(exchange.scope, exchange.receive, exchange.send)
        except CommitOutcomeUnknown as error:
            # Neither success nor failure would be true. The process is about to end, and the
            # client sees the connection break.
            error_log.critical("the outcome of a commit is unknown: no answer", cause=str(error))
            exchange.status = 0
            await asyncio.Event().wait()
        except ClientDisconnect:
            # In the middle of its body: nothing was done, and there is nobody to tell.
            pass
        except Exception as error:
            error_log.error("unhandled error", exc_info=error)
            if exchange.started:
                raise
            await self._refuse(
                exchange, "internal", "the cause is in the log under this request id"
            )
        finally:
            self._finish(exchange)
            leave_request(token)

    async def _refuse(self, exchange: "_Exchange", code: str, detail: str) -> None:
        exchange.scope[_REFUSAL] = problem(exchange.request_id, code, detail)
        await self._refusal(exchange.scope, exchange.receive, exchange.send)

    def _finish(self, exchange: "_Exchange") -> None:
        seconds = time.perf_counter() - exchange.began
        route = exchange.scope.get("route")
        # The template, never the path: a path may hold what its sender wants nobody to see.
        template = getattr(route, "path_format", "-")
        method = exchange.method
        self._metrics.observe(method, template, exchange.status, seconds)
        log_access(exchange.request_id, method, template, exchange.status, seconds)


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_max_body_bytes",
        "_receive",
        "_send",
        "began",
        "declared_length",
        "method",
        "received",
        "request_id",
        "scope",
        "started",
        "status",
        "takes_gzip",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self.began = time.perf_counter()
        self._receive = receive
        self._send = send
        self._max_body_bytes = max_body_bytes
        # Labels of metrics must be few, so what a client makes up is not one.
        self.method = scope["method"] if scope["method"] in _METHODS else "-"
        self.declared_length = 0
        self.received = 0
        self.takes_gzip = False
        self.started = False
        self.status = 499
        """The answer's status; 499 if the client went away before there was one."""
        request_id = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value.decode("latin-1")
            elif name == b"content-length":
                # Python would refuse to read a number of thousands of digits.
                self.declared_length = int(value[:20]) if value.isdigit() else 0
            elif name == b"accept-encoding":
                self.takes_gzip = b"gzip" in value and not _GZIP_REFUSED.search(value)
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = new_request_id()
        self.request_id = request_id
        scope["strongroom.request_id"] = request_id
        if self.method == "HEAD":
            # The same as GET; the server leaves the body out.
            scope = {**scope, "method": "GET"}
        self.scope = scope

    def is_too_large(self, size: int) -> bool:
        """Whether this route takes no body of so many bytes."""
        if size <= self._max_body_bytes:
            return False
        # Looked up here, so that small bodies, which are nearly all, pay nothing for it.
        limit = body_limit(self.method, self.scope["path"])
        self._max_body_bytes = max(self._max_body_bytes, limit)
        return size > self._max_body_bytes

    async def receive(self) -> Message:
        message = await self._receive()
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
            own = [name for name, _ in headers if name in _OWN_HEADERS]
            headers.append((b"x-request-id", self.request_id.encode()))
            headers.extend(
                SECURITY_HEADERS if not own else [h for h in SECURITY_HEADERS if h[0] not in own]
            )
        await self._send(message)

    def too_large(self) -> str:
        """What to tell whoever sends too large a body."""
        return f"the body may have at most {self._max_body_bytes} bytes"


_REFUSAL = "strongroom.refusal"


async def _send_refusal(scope: Scope, receive: Receive, send: Send) -> None:
    await scope[_REFUSAL](scope, receive, send)
