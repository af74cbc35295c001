"""API tokens over HTTP, for administrators."""

from typing import Annotated

from fastapi import Path, Query, Response, status

from backend.dependencies import Cursor, Flag, GuardedRouter, Id, Limit, Service, problems
from backend.http.route_policy import reads, writes
from backend.schemas.tokens import TokenCreate, TokenCreated, TokenInfo, TokenList
from models import Scope

router = GuardedRouter(
    tag="tokens",
    about="Tokens, what a token is, and sessions of browsers.",
    prefix="/api/tokens",
    policies={
        ("GET", "/api/tokens"): reads(Scope.ADMIN, is_conditional=False),
        ("POST", "/api/tokens"): writes(Scope.ADMIN),
        ("GET", "/api/tokens/{token_id}"): reads(Scope.ADMIN),
        ("DELETE", "/api/tokens/{token_id}"): writes(Scope.ADMIN, is_conditional=False),
    },
)

TokenId = Annotated[Id, Path(description="The token's id.", examples=[1])]


@router.get("", responses=problems("bad_cursor"))
async def list_tokens(
    service: Service,
    revoked: Annotated[Flag, Query(description="Include revoked tokens.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TokenList:
    """One page of tokens, newest first, without their secret part."""
    return await service.tokens.page(revoked=revoked, limit=limit, cursor=cursor)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(body=True))
async def create_token(token: TokenCreate, service: Service, response: Response) -> TokenCreated:
    """Create a token. Only this answer ever shows it."""
    created = await service.tokens.create(token)
    response.headers["Location"] = f"/api/tokens/{created.id}"
    response.headers["Cache-Control"] = "no-store"
    return created


@router.get("/{token_id}", responses=problems("token_not_found"))
async def get_token(token_id: TokenId, service: Service) -> TokenInfo:
    """A token, even when it is revoked, without its secret part."""
    return await service.tokens.get(token_id)


@router.delete(
    "/{token_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems("token_not_found"),
)
async def revoke_token(token_id: TokenId, service: Service) -> None:
    """Revoke a token, immediately and permanently."""
    await service.tokens.revoke(token_id)
