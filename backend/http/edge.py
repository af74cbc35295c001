"""The outermost ASGI middleware, which every request and every answer passes.

It refuses ambiguous requests and requests for other hosts, sets the request id, limits the body,
answers preflights, handles unexpected errors, compresses large answers, and writes the access
line.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

from starlette.middleware.gzip import GZipResponder
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.http.accesses import Accesses
from backend.http.cross_origin import CrossOrigin
from backend.http.exchange import GZIP_FROM_BYTES, Exchange
from backend.http.fast_path.direct_routes import DirectRoutes
from backend.http.kept_path import KEPT_METHODS, KeptPath
from backend.http.metrics import RequestMetrics
from backend.http.not_running import NotRunning
from backend.http.own_origin import OwnOrigin
from backend.http.problems import problem
from backend.http.request_head import OPENED_AT, OUTLET, Fault, Headers
from backend.http.route_policy import BodyLimits, Policies
from backend.http.state import AppState
from backend.http.streams.answer import StreamAnswer
from backend.http.trusted_hosts import UNTRUSTED_HOST, TrustedHosts
from backend.http.trusted_proxies import TrustedProxies
from backend.http.waiting.waiter import WAITED
from backend.http.whole_requests import AnswerLines, WholeRequest
from backend.observability.log import Access, get_logger, log_access
from backend.observability.request_ids import enter_request, leave_request
from database.errors import CommitOutcomeUnknown, WrongEventLoop

_UNHANDLED = Fault("internal", "the cause is in the log under this request id")

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
        state: AppState | None = None,
    ) -> None:
        """`policies` has the row of every route. With `own_origin`, requests must come from this
        machine, and in a browser from the service's own pages. Without `state` no answer is kept.
        """
        self._plain = app
        self._kept = state.kept if state is not None else None
        self._accesses = accesses = Accesses(metrics)
        self.kept_path = KeptPath(state, self._admits, accesses) if state is not None else None
        """`None` if no answer is kept."""
        self._lines = AnswerLines()
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
        kept_path = self.kept_path if scope["method"] in KEPT_METHODS else None
        if kept_path is None or not await kept_path.answer(scope, send):
            await self._take(scope, receive, send)

    def take_whole(
        self, request: WholeRequest, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Answer a request whose body has arrived as a whole, in one piece if that is possible."""
        if self.kept_path is not None and scope["method"] in KEPT_METHODS:
            return self._take_kept(self.kept_path, request, scope, receive, send)
        return self._take(scope, receive, send, request)

    async def _take_kept(
        self, kept: KeptPath, request: WholeRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if not await kept.answer(scope, send):
            await self._take(scope, receive, send, request)

    async def _take(
        self, scope: Scope, receive: Receive, send: Send, whole: WholeRequest | None = None
    ) -> None:
        """Let the application answer a request."""
        exchange = Exchange(
            scope,
            receive,
            send,
            self._max_body_bytes,
            self._body_limits,
            self._cross_origin,
            self._kept,
        )
        token = enter_request(exchange.request_id, exchange.scope)
        try:
            answer = self._answer(exchange)
            if answer is None and whole is not None:
                answer = await self._respond(exchange, whole)
            elif answer is None:
                answer = self._ordinary(exchange, self._plain)
            if answer is not None:
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
            self._finish(exchange, together=whole is not None)
            leave_request(token)

    async def _respond(self, exchange: Exchange, whole: WholeRequest) -> ASGIApp | None:
        """What is left to do for the answer of a route; `None` if it was sent in one piece."""
        routes, scope = self._plain, exchange.scope
        if not isinstance(routes, DirectRoutes) or b"transfer-encoding" in exchange.headers:
            return self._in_messages(exchange, whole)
        handle = routes.handler(scope)
        if handle is None or exchange.method == "HEAD":
            return self._in_messages(exchange, whole)
        request = Request(scope, exchange.receive, exchange.send)
        request._body = whole.take_body()
        try:
            answer = await handle(request)
        except Exception as error:  # noqa: BLE001 - raised again unless it has a handler
            answer = await routes.handled(request, error)
        if isinstance(answer, StreamAnswer):
            scope[OUTLET] = whole.outlet
            return answer
        sent = exchange.whole(answer, self._lines, whole) if whole.may_write() else None
        if sent is None:
            return self._ordinary(exchange, answer)
        whole.write(sent)
        return None

    def _in_messages(self, exchange: Exchange, whole: WholeRequest) -> ASGIApp:
        """The application, whose answer is sent in ASGI's messages unless it has no end."""
        exchange.scope[OUTLET] = whole.outlet
        return self._ordinary(exchange, self._plain)

    def _ordinary(self, exchange: Exchange, answer: ASGIApp) -> ASGIApp:
        """An answer that is sent in ASGI's messages, compressed if that is worth it. Only for
        clients that accept gzip, so that others don't pay for the extra layer."""
        if not exchange.takes_gzip:
            return answer
        return GZipResponder(answer, GZIP_FROM_BYTES, compresslevel=5)

    def _admits(self, scope: Scope, headers: Headers) -> bool:
        """Whether the ordinary way would let a request with this head through to a route that keeps
        answers."""
        hosts, own_origin = self._trusted_hosts, self._own_origin
        # The path matters only for probes, which keep none.
        if hosts is not None and not hosts.permit(headers.get(b"host"), ""):
            return False
        if own_origin is None:
            return True
        # A proxy may have sent another scheme.
        return self._trusted_proxies is None and not own_origin.refusal(scope["scheme"], headers)

    def _answer(self, exchange: Exchange) -> ASGIApp | None:
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

    def _fault(self, exchange: Exchange) -> Fault | None:
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

    async def _refuse(self, exchange: Exchange, fault: Fault) -> None:
        answer = problem(exchange.request_id, fault.code, fault.detail)
        await answer(exchange.scope, exchange.receive, exchange.send)

    def _finish(self, exchange: Exchange, *, together: bool) -> None:
        """Measure and log the request, `together` with others of this turn of the event loop."""
        # A stream is measured as if it had ended when it began, and the time in which a request
        # waited for changes says nothing about the service.
        ended = exchange.scope.get(OPENED_AT) or time.perf_counter()
        seconds = ended - exchange.began - exchange.scope.get(WAITED, 0.0)
        route = exchange.scope.get("route")
        # The template, never the path, which may contain a value that must stay private.
        template = getattr(route, "path_format", "-")
        method, status = exchange.method, exchange.status
        if together:
            access = Access(time.time_ns(), exchange.request_id, method, template, status, seconds)
            self._accesses.note(access, asyncio.get_running_loop())
            return
        self._metrics.observe(method, template, status, seconds)
        log_access(exchange.request_id, method, template, status, seconds)
