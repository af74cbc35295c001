"""Begins and ends the sessions of browsers, and counts who signs in."""

from fastapi import Request, Response, status
from pydantic import SecretStr

from backend.http.authentication import counted
from backend.http.request_head import headers_of
from backend.http.route_policy import Queue
from backend.http.state import state_of
from backend.services.database_service import DatabaseService


async def sign_in(request: Request, token: SecretStr, service: DatabaseService) -> Response:
    """Begin a session of the token. Returns the answer, with its cookie.

    Raises `Refused` for a request of another page, `Unauthenticated` for a wrong token, which is
    counted like one in a header, `RateLimited` and `DatabaseBusy`.
    """
    state, scope = state_of(request.app), request.scope
    headers = headers_of(scope)
    state.cookies.require_own_login(scope, headers)
    principal = await counted(request, service.tokens.authenticate(token.get_secret_value()))
    async with state.queues[Queue.WRITING].slot(principal.token_id):
        begun = await service.sessions.begin(principal)
    return _with_cookie(state.cookies.begun(scope, headers, begun.value, begun.lifetime))


async def sign_out(request: Request, service: DatabaseService) -> Response:
    """End the request's session. Returns the answer, which removes its cookie. Raises
    `EndedSession` when another request has ended it meanwhile."""
    await service.sessions.end()
    headers = headers_of(request.scope)
    if b"authorization" in headers:
        # The request is the token's, and a session whose cookie it also has goes on: without the
        # cookie, its browser could not end it any more.
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    return _with_cookie(state_of(request.app).cookies.ended(request.scope, headers))


def _with_cookie(cookie: str) -> Response:
    return Response(status_code=status.HTTP_204_NO_CONTENT, headers={"Set-Cookie": cookie})
