"""Identifies the sender of a request by its token or session, and its address."""

from collections.abc import Awaitable

from fastapi import Request
from starlette.types import Scope

from backend.errors import Unauthenticated
from backend.http.not_running import NotRunning
from backend.http.request_head import Headers, headers_of
from backend.http.state import AppState, state_of
from backend.observability.request_ids import current_client_address
from backend.services.database_service import DatabaseService
from backend.services.principal import EVERYBODY, Principal

_BEARER = b"Bearer "
_SERVICE = "strongroom.service"
"""The scope's key for the service, which was found once."""


def running_service(request: Request) -> DatabaseService:
    """The application's service. Raises `NotRunning` before the lifespan has begun, and
    `WrongEventLoop` on an event loop other than the lifespan's."""
    # Each request asks several times.
    service: DatabaseService | None = request.scope.get(_SERVICE)
    if service is None:
        service = state_of(request.app).service
        if service is None:
            raise NotRunning
        service.db_manager.async_pool.check_loop()
        request.scope[_SERVICE] = service
    return service


def client_address(request: Request) -> str:
    """The client's address, from a trusted proxy or from the connection; an empty string when it
    is not known."""
    return request.client.host if request.client is not None else ""


def recognised(request: Request) -> Principal | None:
    """What `authenticate` returns, if that needs no look-up; `None` otherwise, and then nothing has
    been counted. Raises `RateLimited`."""
    scope = request.scope
    state = state_of(scope["app"])
    service = state.service
    if service is None:
        return None
    principal = known_sender(state, scope, headers_of(scope))
    if principal is not None and principal.token_id is not None:
        state.limits.count_request(principal.token_id)
        service.tokens.note_use(principal.token_id)
    return principal


async def authenticate(request: Request) -> Principal:
    """The principal that sends the request. A token wins over a session, also if it is wrong.

    Raises `Unauthenticated`, `RateLimited`, `Refused` for a session that another page may be using,
    and the errors of `running_service`."""
    service = running_service(request)
    state = state_of(request.scope["app"])
    if not state.auth_required:
        return EVERYBODY
    scope = request.scope
    headers = headers_of(scope)
    given = headers.get(b"authorization")
    if given is not None:
        token = _token_in(given.decode("latin-1"))
        if token is None:
            raise Unauthenticated
        return await counted(request, service.tokens.authenticate(token))
    session = state.cookies.value(scope, headers)
    if session is None:
        raise Unauthenticated
    state.cookies.require_permitted(request.method, scope, headers)
    return await counted(request, service.sessions.authenticate(session.decode("latin-1")))


async def counted(request: Request, authentication: Awaitable[Principal]) -> Principal:
    """The principal of a token or a session, with the request counted as the token's, or as one
    without a valid token. Raises `RateLimited`, and the errors of `authentication`."""
    state = state_of(request.app)
    try:
        principal = await authentication
    except Unauthenticated:
        running_service(request).unknown_tokens.count(current_client_address())
        state.limits.count_failure(client_address(request))
        raise
    state.limits.count_request(principal.token_id)
    return principal


def known_sender(state: AppState, scope: Scope, headers: Headers) -> Principal | None:
    """The principal of a request with these headers, if it needs no look-up; `None` otherwise, and
    for what is unusual. The request is not counted yet."""
    if not state.auth_required:
        return EVERYBODY
    authorization = headers.get(b"authorization")
    if authorization is None:
        return _known_session(state, scope, headers) if b"cookie" in headers else None
    if state.service is None or not authorization.startswith(_BEARER):
        return None
    return state.service.tokens.known(authorization[len(_BEARER) :])


def _known_session(state: AppState, scope: Scope, headers: Headers) -> Principal | None:
    # A proxy may send another scheme, which only the edge knows.
    if state.service is None or b"x-forwarded-proto" in headers:
        return None
    method = scope.get("method", "GET")
    try:
        session = state.cookies.value(scope, headers)
    except Unauthenticated:
        return None
    if session is None or state.cookies.refusal(method, scope["scheme"], headers) is not None:
        return None
    return state.service.sessions.known(session)


def count_request(state: AppState, principal: Principal) -> bool:
    """Count a request of a known sender, unless it has sent too many. Returns whether it was
    counted."""
    if principal.token_id is None:
        return True
    if state.service is None or state.limits.take_request(principal.token_id):
        return False
    state.service.tokens.note_use(principal.token_id)
    return True


def _token_in(header: str) -> str | None:
    """The token in an `Authorization` header, or None."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
