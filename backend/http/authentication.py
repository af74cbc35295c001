"""Identifies the sender of a request by its token and its address."""

from fastapi import Request

from backend.errors import NotRunning, Unauthenticated
from backend.http.state import state_of
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
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthenticated
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    try:
        principal = await service.tokens.authenticate(token.strip())
    except Unauthenticated:
        service.unknown_tokens.count(current_client_address())
        state.limits.count_failure(client_address(request))
        raise
    state.limits.count_request(principal.token_id)
    return principal
