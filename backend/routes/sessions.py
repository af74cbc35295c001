"""Who a token is, and sessions of browsers."""

from fastapi import Request, Response, status

from backend.dependencies import GuardedRouter, Service, problems
from backend.http.route_policy import ANY_TOKEN, reads, without_token, writes
from backend.http.sign_in import sign_in, sign_out
from backend.schemas.tokens import SessionCreate, TokenIdentity

router = GuardedRouter(
    tag="tokens",
    prefix="/api",
    policies={
        ("GET", "/api/me"): reads(ANY_TOKEN),
        ("GET", "/api/session"): reads(ANY_TOKEN),
        # The body has the token, and the endpoint takes a slot after recognising it.
        ("POST", "/api/session"): without_token(),
        ("DELETE", "/api/session"): writes(ANY_TOKEN, is_conditional=False),
    },
)


@router.get("/me", responses=problems())
async def get_me(service: Service) -> TokenIdentity:
    """What the token of the request is: its name, scopes, projects and expiry."""
    return await service.tokens.identity()


@router.get("/session", responses=problems())
async def get_session(service: Service) -> TokenIdentity:
    """The same as `/api/me`."""
    return await service.tokens.identity()


@router.post(
    "/session",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems("unauthenticated", "forbidden", "rate_limited", "database_busy", body=True),
)
async def create_session(session: SessionCreate, request: Request, service: Service) -> Response:
    """Begin a session: the answer sets a cookie, with which a browser may do what the token may,
    for 12 hours, but not after the token ends."""
    return await sign_in(request, session.token, service)


@router.delete("/session", status_code=status.HTTP_204_NO_CONTENT, responses=problems())
async def end_session(request: Request, service: Service) -> Response:
    """End the session at once, and remove its cookie. A request with a token has no session, and
    ends none."""
    return await sign_out(request, service)
