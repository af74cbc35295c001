"""Identifies the sender of a request by its token and its address."""

from fastapi import Request

from backend.errors import NotRunning, Unauthenticated
from backend.http.request_head import headers_of
from backend.http.state import AppState, state_of
from backend.observability.request_ids import current_client_address
from backend.services.database_service import DatabaseService
from backend.services.principal import EVERYBODY, Principal


def running_service(request: Request) -> DatabaseService:
    """The application's service. Raises `NotRunning` before the lifespan has begun, and
    `WrongEventLoop` on an event loop other than the lifespan's."""
    service = state_of(request.app).service
    if service is None:
        raise NotRunning
    service.db_manager.async_pool.check_loop()
    return service


def client_address(request: Request) -> str:
    """The client's address, from a trusted proxy or from the connection; an empty string when it
    is not known."""
    return request.client.host if request.client is not None else ""


async def authenticate(request: Request) -> Principal:
    """The principal that sends the request. Raises `Unauthenticated`, `RateLimited` and the errors
    of `running_service`."""
    service = running_service(request)
    state = state_of(request.app)
    if not state.auth_required:
        return EVERYBODY
    given = headers_of(request.scope).get(b"authorization")
    token = _token_in(given.decode("latin-1")) if given is not None else None
    if token is None:
        raise Unauthenticated
    try:
        principal = await service.tokens.authenticate(token)
    except Unauthenticated:
        service.unknown_tokens.count(current_client_address())
        state.limits.count_failure(client_address(request))
        raise
    state.limits.count_request(principal.token_id)
    return principal


def known_sender(state: AppState, authorization: bytes | None) -> Principal | None:
    """The principal of a request with this header, if it needs no look-up; `None` otherwise. The
    request is not counted yet."""
    if not state.auth_required:
        return EVERYBODY
    if authorization is None or state.service is None:
        return None
    token = _token_in(authorization.decode("latin-1"))
    return state.service.tokens.known(token) if token is not None else None


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
