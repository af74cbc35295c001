"""The outermost ASGI middleware, which every request and every answer passes.

It refuses ambiguous requests and requests for other hosts, sets the request id, limits the body,
answers preflights, handles unexpected errors, compresses large answers, and writes the access
line.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import BadRequest, BodyTooLarge, HeadersTooLarge, NotRunning
from backend.http.closing_answer import ClosingAnswer
from backend.http.cross_origin import CrossOrigin
from backend.http.metrics import RequestMetrics
from backend.http.own_origin import OwnOrigin
from backend.http.problems import problem
from backend.http.request_head import FAULT, Fault, read_head
from backend.http.route_policy import BodyLimits, Policies
from backend.http.trusted_hosts import UNTRUSTED_HOST, TrustedHosts
from backend.http.trusted_proxies import TrustedProxies
from backend.observability.log import get_logger, log_access
from backend.observability.request_ids import enter_request, leave_request, new_request_id
from database.errors import CommitOutcomeUnknown, WrongEventLoop

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_GZIP_FROM_BYTES = 8 * 1024
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
_UNHANDLED = Fault("internal", "the cause is in the log under this request id")
_ERRORS = {error.code: error for error in (BadRequest, HeadersTooLarge)}
"""The errors for faults that the server finds in a body."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

error_log = get_logger("strongroom.error")


class Edge:
    """The outermost middleware of the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        metrics: RequestMetrics,
        policies: Policies = MappingProxyType({}),
        cross_origin: CrossOrigin | None = None,
        trusted_hosts: Sequence[str] = (),
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
        own_origin: OwnOrigin | None = None,
    ) -> None:
        """`policies` has the row of every route. With `own_origin`, requests must come from this
        machine, and in a browser from the service's own pages."""
        self._plain = app
        # Only for clients that accept gzip, so that others don't pay for the extra layer.
        self._gzip = GZipMiddleware(app, minimum_size=_GZIP_FROM_BYTES, compresslevel=5)
        self._max_body_bytes = max_body_bytes
        self._body_limits = BodyLimits(policies)
        self._metrics = metrics
        self._cross_origin = cross_origin
        probes = [path for (_, path), policy in policies.items() if policy.is_probe]
        self._trusted_hosts = TrustedHosts(trusted_hosts, probes) if trusted_hosts else None
        self._trusted_proxies = TrustedProxies(trusted_proxies) if trusted_proxies else None
        self._own_origin = own_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._plain(scope, receive, send)
            return
        exchange = _Exchange(
            scope, receive, send, self._max_body_bytes, self._body_limits, self._cross_origin
        )
        token = enter_request(exchange.request_id, exchange.scope)
        try:
            answer = self._answer(exchange)
            if answer is None:
                answer = self._gzip if exchange.takes_gzip else self._plain
            await answer(exchange.scope, exchange.receive, exchange.send)
        except CommitOutcomeUnknown as error:
            # It is unknown whether the request succeeded. The process is about to end, and the
            # client sees the connection break.
            error_log.critical("the outcome of a commit is unknown: no answer", cause=str(error))
            exchange.status = 0
            await asyncio.Event().wait()
        except ClientDisconnect:
            # The client left in the middle of its body: nothing was done, and no answer is sent.
            pass
        except (NotRunning, WrongEventLoop) as error:
            # The embedding program is wrong, so it gets the error as well as the client.
            error_log.error(str(error))
            if not exchange.started:
                await self._refuse(exchange, Fault("internal", str(error)))
            raise
        except Exception as error:
            error_log.error("unhandled error", exc_info=error)
            if exchange.started:
                raise
            await self._refuse(exchange, _UNHANDLED)
        finally:
            self._finish(exchange)
            leave_request(token)

    def _answer(self, exchange: "_Exchange") -> ASGIApp | None:
        """A refusal, or the answer to a preflight; `None` for a request that goes to a route."""
        if self._trusted_proxies is not None:
            self._trusted_proxies.apply(exchange.scope, exchange.headers)
        answer: Response | Fault | None = self._fault(exchange)
        if answer is None and self._cross_origin is not None and exchange.method == "OPTIONS":
            answer = self._cross_origin.preflight(exchange.headers)
        if not isinstance(answer, Fault):
            return answer
        refusal = problem(exchange.request_id, answer.code, answer.detail)
        return refusal if exchange.fault is None else exchange.closing(refusal)

    def _fault(self, exchange: "_Exchange") -> Fault | None:
        scope, headers = exchange.scope, exchange.headers
        hosts = self._trusted_hosts
        if hosts is not None and not hosts.permit(headers.get(b"host"), scope["path"]):
            return Fault("bad_request", UNTRUSTED_HOST)
        if exchange.fault is not None:
            return exchange.fault
        if self._own_origin is not None:
            reason = self._own_origin.refusal(scope["scheme"], headers)
            if reason is not None:
                return Fault("forbidden", reason)
        if exchange.is_too_large(exchange.declared_length):
            return Fault("body_too_large", exchange.too_large())
        return None

    async def _refuse(self, exchange: "_Exchange", fault: Fault) -> None:
        answer = problem(exchange.request_id, fault.code, fault.detail)
        await answer(exchange.scope, exchange.receive, exchange.send)

    def _finish(self, exchange: "_Exchange") -> None:
        seconds = time.perf_counter() - exchange.began
        route = exchange.scope.get("route")
        # The template, never the path, which may contain a value that must stay private.
        template = getattr(route, "path_format", "-")
        method = exchange.method
        self._metrics.observe(method, template, exchange.status, seconds)
        log_access(exchange.request_id, method, template, exchange.status, seconds)


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_body_limits",
        "_cross_origin",
        "_max_body_bytes",
        "_original_scope",
        "_receive",
        "_send",
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
    ) -> None:
        self.began = time.perf_counter()
        self._receive = receive
        self._send = send
        self._max_body_bytes = max_body_bytes
        self._body_limits = body_limits
        self._cross_origin = cross_origin
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
        accepted = headers.get(b"accept-encoding", b"")
        self.takes_gzip = b"gzip" in accepted and not _GZIP_REFUSED.search(accepted)
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            self.request_id = given.decode()
        else:
            self.request_id = new_request_id()
        scope["strongroom.request_id"] = self.request_id
        # The server's own scope, where it stores a fault that it finds later.
        self._original_scope = scope
        if self.method == "HEAD":
            # HEAD is handled like GET; the server leaves the body out.
            scope = {**scope, "method": "GET"}
        self.scope = scope

    def closing(self, answer: Response) -> ASGIApp:
        """The answer, after which the connection closes."""
        return ClosingAnswer(answer, self._receive, self._max_body_bytes)

    def is_too_large(self, size: int) -> bool:
        """Whether a body of `size` bytes is too large for this route."""
        if size <= self._max_body_bytes:
            return False
        # The route's limit is looked up only here, so that small bodies cost nothing extra.
        limit = self._body_limits.of(self.method, self.scope["path"])
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
            own = [name for name, _ in headers if name in _OWN_HEADERS]
            headers.append((b"x-request-id", self.request_id.encode()))
            if self._cross_origin is not None:
                headers.extend(self._cross_origin.headers(self.headers.get(b"origin")))
            headers.extend(
                SECURITY_HEADERS if not own else [h for h in SECURITY_HEADERS if h[0] not in own]
            )
        await self._send(message)

    def too_large(self) -> str:
        """The message for a body that is too large."""
        return f"the body may have at most {self._max_body_bytes} bytes"
