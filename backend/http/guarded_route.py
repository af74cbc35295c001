"""The way of a request to its route: scope, token, query, body, a slot, and the service."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

from fastapi import APIRouter, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from backend.errors import Refused
from backend.http.authentication import authenticate, client_address, running_service
from backend.http.fast_path.direct_call import DirectCall, Handler, application, is_ordinary
from backend.http.request_head import read_head
from backend.http.route_policy import OPEN, Policies, Queue, RoutePolicy
from backend.http.state import state_of
from backend.http.strict_query import StrictQuery
from backend.http.token_checks import (
    broken_off_at_the_end,
    read_body,
    require_valid,
    valid_to_the_end,
)
from backend.services.database_service import DatabaseService
from backend.services.principal import EVERYBODY, Principal, acting_as

PATIENCE_SECONDS = 1.0
"""Whose request has waited for longer is asked whether it still wants the answer."""


class FromApplication:
    """Marks the parameter of an endpoint that `GuardedRoute` gives the application's service."""


Service = Annotated[DatabaseService, FromApplication]
"""The type of that parameter."""


class GuardedRoute(APIRoute):
    """A route that knows its policy, checks it before anything else, and reads JSON strictly."""

    policies: ClassVar[Policies] = {}
    """The rows of its router."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Raises `LookupError` for a route without a row, and `TypeError` for an endpoint that is
        not a coroutine function or does not stream as its row says."""
        super().__init__(path, _with_service(endpoint), **options)
        self._through_fastapi = self.app
        self.is_direct = is_ordinary(self, options)
        if self.is_direct:
            self.app = application(self._guard(DirectCall(self)))

    def through_fastapi(self) -> Self:
        """The same route, whose endpoint FastAPI's own handler calls."""
        route = copy(self)
        route.app, route.is_direct = self._through_fastapi, False
        return route

    @property
    def key(self) -> tuple[str, str]:
        """Its method and path template."""
        (method,) = self.methods or {"GET"}
        return method, self.path_format

    @property
    def policy(self) -> RoutePolicy:
        """Its row. Raises `LookupError` when there is none."""
        if self.key not in self.policies:
            raise LookupError(f"{self.key} has no row among the policies of its router")
        return self.policies[self.key]

    def get_route_handler(self) -> Handler:  # type: ignore[override]
        """The handler that asks FastAPI's."""
        return self._guard(super().get_route_handler())

    def _guard(self, handle: Handler) -> Handler:
        policy, scope = self.policy, self.policy.scope
        if policy.is_streamed is not issubclass(_class_of_answers(self), StreamingResponse):
            raise TypeError(f"{self.key}: `is_streamed` is only for a StreamingResponse")
        query = StrictQuery.of(self.dependant)
        check_query = _ignore if policy.is_probe else query.check
        if scope is OPEN:
            return _with_query(handle, check_query)
        body = self.body_field
        required = body.field_info.is_required() if body is not None else None
        recognise = _recognise_on_loopback if policy.is_open_on_loopback else authenticate
        work = _in_its_turn(handle, policy)

        async def guarded(request: Request) -> Response:
            principal = await recognise(request)
            principal.require(scope)
            check_query(request)
            await read_body(request, principal, required=required)
            # Now, and not before: whoever sends a body slowly keeps nobody from working.
            return await work(request, principal)

        return guarded


class GuardedRouter(APIRouter):
    """The routes of a resource, and the policy of each."""

    def __init__(self, *, tag: str, policies: Policies, prefix: str = "") -> None:
        """`policies` has a row for each route that is added."""
        super().__init__(
            prefix=prefix,
            tags=[tag],
            route_class=type("GuardedRoute", (GuardedRoute,), {"policies": policies}),
        )
        self.policies = policies

    @property
    def guarded_routes(self) -> Iterator[GuardedRoute]:
        """Its routes, in the order in which they were added."""
        return (route for route in self.routes if isinstance(route, GuardedRoute))


Work = Callable[[Request, Principal], Awaitable[Response]]


def _in_its_turn(handle: Handler, policy: RoutePolicy) -> Work:
    """What a route does for a principal, once it has a slot if it needs one."""
    kind = policy.queue
    if kind is not Queue.WRITING:
        handle = valid_to_the_end(handle)
    if policy.is_streamed:
        handle = broken_off_at_the_end(handle)

    async def at_once(request: Request, principal: Principal) -> Response:
        with acting_as(principal):
            return await handle(request)

    if kind is None:
        return at_once

    async def in_turn(request: Request, principal: Principal) -> Response:
        queue = state_of(request.app).queues[kind]
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

    return in_turn


def _with_query(handle: Handler, check: Callable[[Request], None]) -> Handler:
    async def checked(request: Request) -> Response:
        check(request)
        return await handle(request)

    return checked


def _ignore(_: Request) -> None:
    """Look at nothing."""


async def _recognise_on_loopback(request: Request) -> Principal:
    """Everybody on this machine while it is developed on; else as `authenticate`.

    Raises `Refused` for a request without a token that is no business of this machine's.
    """
    state = state_of(request.app)
    if not state.has_open_metrics:
        return await authenticate(request)
    headers, _ = read_head(request.scope)
    refusal = state.own_origin.refusal(request.scope["scheme"], headers)
    if refusal is None:
        return EVERYBODY
    if b"authorization" not in headers:
        raise Refused(refusal)
    return await authenticate(request)


def _class_of_answers(route: APIRoute) -> type[Response]:
    kind = route.response_class
    return kind.value if isinstance(kind, DefaultPlaceholder) else kind


def _with_service(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, given its `Service` from the request. Raises `TypeError` unless the endpoint
    is a coroutine function.

    A dependency of FastAPI's would do it, and take a tenth of the time of a small request.
    """
    if not inspect.iscoroutinefunction(endpoint):
        # It would fail on every call, or keep all other requests waiting.
        raise TypeError(f"{endpoint!r} is not a coroutine function: declare it with `async def`")
    # Annotations may be strings, for FastAPI as well.
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
