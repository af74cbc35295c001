"""The checks of a request before its endpoint runs: token, scope, query, body, and a slot."""

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
from backend.http.authentication import (
    authenticate,
    client_address,
    recognised,
    running_service,
)
from backend.http.bulk_bodies import declared_as_json
from backend.http.conditional import Tagging, conditional
from backend.http.fast_path.direct_call import DirectCall, Handler, application, is_ordinary
from backend.http.idempotency import answering_once, with_key_once
from backend.http.kept_answers import OFFER, Offer
from backend.http.other_bodies import or_other_body
from backend.http.refused_reveals import Work, recording_refusals
from backend.http.request_head import read_head
from backend.http.route_policy import ANY_TOKEN, OPEN, Policies, Queue, RoutePolicy
from backend.http.slow_reads import in_its_class
from backend.http.state import state_of
from backend.http.strict_query import StrictQuery
from backend.http.token_checks import (
    broken_off_at_the_end,
    has_arrived,
    read_body,
    require_valid,
    use_body,
    valid_to_the_end,
)
from backend.http.waiting import work as waiting
from backend.services.database_service import DatabaseService
from backend.services.principal import (
    EVERYBODY,
    Principal,
    act_as,
    act_as_before,
    acting_as,
    current_principal,
)
from models import Scope

PATIENCE_SECONDS = 1.0
"""After this wait, the client is asked whether it is still connected."""


class FromApplication:
    """Marks the parameter of an endpoint that receives the application's service."""


Service = Annotated[DatabaseService, FromApplication]
"""The type of that parameter."""


class GuardedRoute(APIRoute):
    """A route that knows its policy, checks it before anything else, and reads JSON strictly."""

    policies: ClassVar[Policies] = {}
    """The rows of the route's router."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Raises `LookupError` for a route without a row. Raises `TypeError` for an endpoint that
        is not a coroutine function, or whose response class contradicts `is_streamed`."""
        super().__init__(path, _with_service(endpoint), **options)
        self._through_fastapi = self.app
        self.direct: Handler | None = None
        """Answers requests without FastAPI's handler; `None` if the route is not ordinary."""
        if is_ordinary(self, options):
            self.direct = self._guard(DirectCall(self))
            self.app = application(self.direct)

    def through_fastapi(self) -> Self:
        """The same route, with its endpoint called by FastAPI's own handler."""
        route = copy(self)
        route.app, route.direct = self._through_fastapi, None
        return route

    @property
    def key(self) -> tuple[str, str]:
        """The route's method and path template."""
        (method,) = self.methods or {"GET"}
        return method, self.path_format

    @property
    def policy(self) -> RoutePolicy:
        """The route's row. Raises `LookupError` when there is none."""
        if self.key not in self.policies:
            raise LookupError(f"{self.key} has no row among the policies of its router")
        return self.policies[self.key]

    @functools.cached_property
    def tagging(self) -> Tagging:
        """How the route's answers are tagged, and which preconditions it takes."""
        return Tagging.of(self, self.policy)

    def get_route_handler(self) -> Handler:  # type: ignore[override]
        """FastAPI's handler with this route's checks in front of it."""
        guarded = self._guard(declared_as_json(super().get_route_handler()))

        async def handle(request: Request) -> Response:
            # FastAPI calls anything but a coroutine function on a thread.
            return await guarded(request)

        return handle

    def _guard(self, handle: Handler) -> Handler:
        policy, scope = self.policy, self.policy.scope
        if policy.is_streamed is not issubclass(_class_of_answers(self), StreamingResponse):
            raise TypeError(f"{self.key}: `is_streamed` is only for a StreamingResponse")
        query = StrictQuery.of(self.dependant)
        check_query = _ignore if policy.is_probe else query.check
        body = self.body_field
        or_scopes, includes = policy.or_scopes, policy.includes
        required = body.field_info.is_required() if body is not None else None
        if scope is OPEN:
            if required is not None:
                handle = _with_body(handle, required=required)
            return _with_query(handle, check_query)
        recognise = _recognise_on_loopback if policy.is_open_on_loopback else authenticate
        work = self._work(in_its_class(handle, policy, query.names))
        take_body = _taking_body(work, policy, required=required)

        async def checked(request: Request, principal: Principal) -> Response:
            if scope is not ANY_TOKEN:
                principal.require(scope, or_scopes)
            check_query(request)
            if includes and (included := policy.inclusion(request.query_params)) is not None:
                principal.require(included.scope)
            return await take_body(request, principal)

        # An answer with a value is never stored, so a route that takes a key reveals none.
        reveals = scope is Scope.SECRETS_REVEAL and policy.idempotency(self.key[0]) is None
        all_work: Work = recording_refusals(checked) if reveals else checked

        def guarded(request: Request) -> Awaitable[Response]:
            principal = recognised(request)
            if principal is not None:
                return all_work(request, principal)
            return looked_up(request)

        async def looked_up(request: Request) -> Response:
            return await all_work(request, await recognise(request))

        # Whether a request needs a token depends on more than its token.
        return looked_up if policy.is_open_on_loopback else guarded

    def _work(self, handle: Handler) -> Work:
        """What is done for a principal whose request was checked."""
        policy, scope = self.policy, self.policy.scope
        handle = conditional(handle, self.tagging)
        work = _in_its_turn(_offered(handle, policy, self.path_format), policy)
        method, template = self.key
        if method == "GET" and self.tagging.has_tag:
            return waiting.reading(work, policy, template)
        how = policy.idempotency(method)
        if how is None or scope is OPEN:
            return work
        once = _in_its_turn(answering_once(handle, how), policy)
        if policy.claims:
            work, once = waiting.claiming(work), waiting.claiming(once)
        return with_key_once(work, once, route=f"{method} {template}", scope=scope)


class GuardedRouter(APIRouter):
    """The routes of a resource, and the policy of each."""

    def __init__(self, *, tag: str, policies: Policies, prefix: str = "", about: str = "") -> None:
        """`policies` needs a row for each route that is added. `about` is the description of the
        tag; one router of each tag has it."""
        super().__init__(
            prefix=prefix,
            tags=[tag],
            route_class=type("GuardedRoute", (GuardedRoute,), {"policies": policies}),
        )
        self.policies = policies
        self.tag, self.about = tag, about

    @property
    def guarded_routes(self) -> Iterator[GuardedRoute]:
        """The router's routes, in the order in which they were added."""
        return (route for route in self.routes if isinstance(route, GuardedRoute))


def _in_its_turn(handle: Handler, policy: RoutePolicy) -> Work:
    """The route's work for a principal; it waits for a slot first if the route needs one."""
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
        queue = state_of(request.scope["app"]).queues[kind]
        waited = None
        client = principal.token_id or client_address(request)
        if not queue.take(client):
            waited = await queue.wait(client)
        try:
            if waited is not None:
                if waited > PATIENCE_SECONDS and await request.is_disconnected():
                    raise ClientDisconnect
                await require_valid(request, principal)
            acting = act_as(principal)
            try:
                return await handle(request)
            finally:
                act_as_before(acting)
        finally:
            queue.give_back(client)

    return in_turn


def _offered(handle: Handler, policy: RoutePolicy, template: str) -> Handler:
    """The route's handler; it offers its answers to the edge, if they may be kept."""
    shows, scope = policy.shows, policy.scope
    if shows is None or scope is OPEN or scope is ANY_TOKEN:
        return handle

    own_scope: tuple[Scope, ...] = (scope,)
    includes = policy.includes

    async def handle_and_offer(request: Request) -> Response:
        kept = state_of(request.app).kept
        shown, scopes = shows, own_scope
        if includes and (included := policy.inclusion(request.query_params)) is not None:
            shown, scopes = included.shows, (*own_scope, included.scope)
        version = kept.version(shown)
        answer = await handle(request)
        # What changed while it was made may be missing in it.
        if version is not None and version == kept.version(shown) and answer.status_code == 200:
            visible = current_principal().project_ids
            request.scope[OFFER] = Offer(shown, version, scopes, template, visible)
        return answer

    return handle_and_offer


def _with_query(handle: Handler, check: Callable[[Request], None]) -> Handler:
    async def checked(request: Request) -> Response:
        check(request)
        return await handle(request)

    return checked


def _with_body(handle: Handler, *, required: bool) -> Handler:
    async def checked(request: Request) -> Response:
        await read_body(request, None, required=required)
        return await handle(request)

    return checked


def _taking_body(work: Work, policy: RoutePolicy, *, required: bool | None) -> Work:
    """The work once the body has come. A slot is taken only then, so that a slowly arriving body
    holds none."""
    lines = policy.lines

    async def take_json(request: Request, principal: Principal) -> Response:
        if has_arrived(request):
            use_body(request, required=required, lines=lines)
        else:
            await read_body(request, principal, required=required, lines=lines)
        return await work(request, principal)

    other = policy.other_body
    return take_json if other is None else or_other_body(work, other, take_json)


def _ignore(_: Request) -> None:
    """Accept every query."""


async def _recognise_on_loopback(request: Request) -> Principal:
    """`EVERYBODY` for a request from this machine in development; otherwise the principal of
    `authenticate`.

    Raises `Refused` for a request without a token that is not from this machine's own programs or
    the service's own pages.
    """
    state = state_of(request.app)
    if not state.has_open_metrics:
        return await authenticate(request)
    headers, _ = read_head(request.scope)
    refusal = state.own_origin.refusal(request.scope["scheme"], headers)
    if refusal is None:
        return EVERYBODY
    if b"authorization" not in headers and state.cookies.value(request.scope, headers) is None:
        raise Refused(refusal)
    return await authenticate(request)


def _class_of_answers(route: APIRoute) -> type[Response]:
    kind = route.response_class
    return kind.value if isinstance(kind, DefaultPlaceholder) else kind


def _with_service(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, which receives its `Service` from the request. Raises `TypeError` unless the
    endpoint is a coroutine function.

    A FastAPI dependency would do the same, but cost a tenth of the time of a small request.
    """
    if not inspect.iscoroutinefunction(endpoint):
        # A plain function would fail on every call, or block all other requests.
        raise TypeError(f"{endpoint!r} is not a coroutine function: declare it with `async def`")
    # Annotations may be strings; FastAPI evaluates them too.
    signature = inspect.signature(endpoint, eval_str=True)
    services = [p.name for p in signature.parameters.values() if _is_service(p.annotation)]
    if not services:
        return endpoint
    # FastAPI passes the request to one parameter only, and the endpoint may have one already.
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
