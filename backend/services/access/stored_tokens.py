"""What follows from the rows of tokens and sessions."""

from datetime import UTC, datetime

from backend.errors import Unauthenticated
from backend.repositories import Repositories
from backend.repositories.api_token_repository import StoredToken
from backend.schemas.tokens import TokenIdentity
from backend.services.access.token_cache import KnownToken
from backend.services.principal import BrowserSession, Principal
from database.base import time_text


def identity_of(principal: Principal) -> TokenIdentity:
    """What the principal is and may do."""
    session, ends_at = principal.session, principal.expires_at
    token_ends_at = ends_at if session is None else session.token_expires_at
    visible = principal.visible_ids
    return TokenIdentity(
        id=principal.token_id,
        name=principal.name,
        scopes=sorted(principal.scopes),
        project_ids=list(visible) if visible is not None else None,
        expires_at=_text(token_ends_at),
        session_expires_at=_text(ends_at) if session is not None else None,
    )


def _text(time: datetime | None) -> str | None:
    return time_text(time) if time is not None else None


async def require_stored(
    repositories: Repositories, token_id: int, session: BrowserSession | None
) -> None:
    """Raises `Unauthenticated` unless the token, and its session if there is one, go on."""
    stored = await repositories.tokens.get(token_id)
    if stored is None or stored.revoked_at is not None:
        raise Unauthenticated
    if session is not None and await repositories.sessions.get(session.id) is None:
        raise Unauthenticated


def known_token(stored: StoredToken, generation: int) -> KnownToken:
    """A token that was looked up in this generation of the cache."""
    expires_at = stored.expires_at
    return KnownToken(
        principal=Principal(
            name=stored.name,
            scopes=stored.scopes,
            token_id=stored.id,
            project_ids=stored.project_ids,
            expires_at=datetime.fromisoformat(expires_at).astimezone(UTC) if expires_at else None,
            generation=generation,
        ),
        token_id=stored.id,
    )
