"""The way of a request to its route: scope, token, query, body, a slot, and the service."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from backend.errors import Refused
from backend.http.access import ANY_QUERY, OPEN, ROUTE_SCOPES
from backend.http.authentication import authenticate, client_address, running_service
from backend.http.fair_queue import FairQueue
from backend.http.fast_path.direct_call import DirectCall, Handler, application, is_ordinary
from backend.http.request_head import read_head
from backend.http.strict_query import StrictQuery
from backend.http.token_checks import read_body, require_valid, valid_to_the_end
from backend.services.database_service import DatabaseService
from backend.services.principal import EVERYBODY, acting_as
from models import Scope

PATIENCE_SECONDS = 1.0
"""Whose request has waited for longer is asked whether it still wants the answer."""


class FromApplication:
    """Marks the parameter of an endpoint that `GuardedRoute` gives the application's service."""


Service = Annotated[DatabaseService, FromApplication]
"""The type of that parameter."""


class GuardedRoute(APIRoute):
    """A route that knows its scope, checks it before anything else, and reads JSON strictly."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _with_service(endpoint), **options)
        self.is_direct = is_ordinary(self, options)
        if self.is_direct:
            self.app = application(self._guard(DirectCall(self)))

    def get_route_handler(self) -> Handler:  # type: ignore[override]
        """The handler. Raises `KeyError` for a route that the table of scopes does not have."""
        return self._guard(super().get_route_handler())

    def _guard(self, handle: Handler) -> Handler:
        (method,) = self.methods or {"GET"}
        scope = ROUTE_SCOPES[method, self.path_format]
        query = StrictQuery.of(self.dependant)
        if (method, self.path_format) in ANY_QUERY:
            return handle
        if scope is OPEN:
            return _with_strict_query(handle, query)
        body = self.body_field
        required = body.field_info.is_required() if body is not None else None
        metrics = self.path_format == "/metrics"
        # What reads waits for no COMMIT, however slow the disk is. A reveal is recorded.
        reading = method == "GET" and scope != Scope.SECRETS_REVEAL
        kind = "reading" if reading else "writing"
        if reading:
            handle = valid_to_the_end(handle)

        async def guarded(request: Request) -> Response:
            state = request.app.state
            if metrics and _is_open(request):
                principal = EVERYBODY
            else:
                principal = await authenticate(request)
                principal.require(scope)
            query.check(request)
            await read_body(request, principal, required=required)
            if metrics:
                # Never waits: when there is much to do, it tells so.
                return await handle(request)
            queue: FairQueue = state.queues[kind]
            # Now, and not before: whoever sends a body slowly keeps nobody from working.
            waited = None
            client = principal.token_id or client_address(request)
            if not queue.take(client):
                waited = await queue.wait(client)
            try:
                if waited is not None:
                    if waited > PATIENCE_SECONDS and await request.is_disconnected():
                        raise ClientDisconnect
                    await require_valid(request, principal)
                with acting_as(principal):
                    return await handle(request)
            finally:
                queue.give_back(client)

        return guarded


def _with_strict_query(handle: Handler, query: StrictQuery) -> Handler:
    async def strict(request: Request) -> Response:
        query.check(request)
        return await handle(request)

    return strict


def _is_open(request: Request) -> bool:
    """Whether `/metrics` needs no token. Raises `Refused` for a request without one that is no
    business of this machine's."""
    state = request.app.state
    if not state.open_metrics:
        return False
    headers, _ = read_head(request.scope)
    refusal: str | None = state.own_origin.refusal(request.scope["scheme"], headers)
    if refusal is not None and b"authorization" not in headers:
        raise Refused(refusal)
    return refusal is None


def _with_service(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, given its `Service` from the request. Raises `TypeError` unless the endpoint
    is a coroutine function.

    A dependency of FastAPI's would do it, and take a tenth of the time of a small request.
    """
    if not inspect.iscoroutinefunction(endpoint):
        # It would fail on every call, or keep all other requests waiting.
        raise TypeError(f"{endpoint!r} is no coroutine function: declare it with `async def`")
    # As FastAPI does, annotations that are texts are read.
    signature = inspect.signature(endpoint, eval_str=True)
    services = [p.name for p in signature.parameters.values() if _is_service(p.annotation)]
    if not services:
        return endpoint
    # FastAPI gives the request to one parameter only, which may be the endpoint's own.
    own = next((p.name for p in signature.parameters.values() if _is_request(p.annotation)), None)

    @functools.wraps(endpoint)
    async def call(**arguments: Any) -> Any:
        request = arguments[own] if own is not None else arguments.pop("_request")
        service = running_service(request)
        for name in services:
            arguments[name] = service
        return await endpoint(**arguments)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name not in services
    ]
    if own is None:
        parameters.append(
            inspect.Parameter("_request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        )
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def _is_service(annotation: object) -> bool:
    return get_origin(annotation) is Annotated and FromApplication in get_args(annotation)[1:]


def _is_request(annotation: object) -> bool:
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return isinstance(kind, type) and issubclass(kind, Request)
