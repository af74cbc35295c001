"""The outermost ASGI middleware, which every request and every answer passes.

It refuses ambiguous requests and requests for other hosts, sets the request id, limits the body,
answers preflights, handles unexpected errors, compresses large answers, and writes the access
line.
"""

import asyncio
import time
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

from starlette.middleware.gzip import GZipResponder
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.errors import NotRunning
from backend.http.cross_origin import CrossOrigin
from backend.http.exchange import Exchange, request_id
from backend.http.kept_answers import KeptAnswer
from backend.http.kept_path import KeptPath
from backend.http.metrics import RequestMetrics
from backend.http.own_origin import OwnOrigin
from backend.http.problems import problem
from backend.http.request_head import Fault, Headers
from backend.http.route_policy import BodyLimits, Policies
from backend.http.state import AppState
from backend.http.trusted_hosts import UNTRUSTED_HOST, TrustedHosts
from backend.http.trusted_proxies import TrustedProxies
from backend.observability.log import get_logger, log_access
from backend.observability.request_ids import enter_request, leave_request
from database.errors import CommitOutcomeUnknown, WrongEventLoop

_GZIP_FROM_BYTES = 8 * 1024
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
        self.kept_path = KeptPath(state, self._admits) if state is not None else None
        """`None` if no answer is kept."""
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
        kept_path = self.kept_path
        if kept_path is not None:
            began = time.perf_counter()
            found = await kept_path.take(scope)
            if found is not None:
                await self._send_kept(scope, *found, send, began)
                if kept_path.is_turn_over():
                    await asyncio.sleep(0)
                return
        await self._take(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
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

    async def _gzip(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, compressed if that is worth it. Only for clients that accept
        gzip, so that others don't pay for the extra layer."""
        responder = GZipResponder(self._plain, _GZIP_FROM_BYTES, compresslevel=5)
        await responder(scope, receive, send)

    def _admits(self, scope: Scope, headers: Headers) -> bool:
        """Whether the ordinary way would answer a request with this head without looking at more
        of it than its route does."""
        hosts, own_origin = self._trusted_hosts, self._own_origin
        if hosts is not None and not hosts.permit(headers.get(b"host"), scope["path"]):
            return False
        if own_origin is None:
            return True
        # A proxy may have sent another scheme.
        return self._trusted_proxies is None and not own_origin.refusal(scope["scheme"], headers)

    async def _send_kept(
        self, scope: Scope, headers: Headers, answer: KeptAnswer, send: Send, began: float
    ) -> None:
        id = request_id(headers.get(b"x-request-id"))
        sent = [
            *answer.headers,
            (b"x-request-id", id.encode()),
            *(self._cross_origin.headers(headers.get(b"origin")) if self._cross_origin else ()),
            *answer.last_headers,
        ]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": sent})
            await send({"type": "http.response.body", "body": answer.body})
        finally:
            seconds = time.perf_counter() - began
            self._metrics.observe(scope["method"], answer.template, 200, seconds)
            log_access(id, scope["method"], answer.template, 200, seconds)

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

    def _finish(self, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        route = exchange.scope.get("route")
        # The template, never the path, which may contain a value that must stay private.
        template = getattr(route, "path_format", "-")
        method = exchange.method
        self._metrics.observe(method, template, exchange.status, seconds)
        log_access(exchange.request_id, method, template, exchange.status, seconds)
