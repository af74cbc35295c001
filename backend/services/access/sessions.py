"""Use cases for sessions of browsers. Only a MAC of a session's secret is stored.

A session stands for its token: its requests act for the token's principal, and whatever ends the
token ends the session.
"""

import hmac
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from backend.crypto.token_format import SESSION_PREFIX, new_secret, parse_token, token_text
from backend.errors import Unauthenticated
from backend.repositories.guarded_kinds import SESSIONS
from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.session_repository import StoredSession
from backend.services.access.ended_sessions import remove_sessions, target_of
from backend.services.access.token_cache import SESSION, KnownToken
from backend.services.access.tokens import Tokens
from backend.services.base import Kit, UseCases, shielded_then, unit_of_work
from backend.services.guard import Forgery
from backend.services.kinds import Kind
from backend.services.principal import BrowserSession, Principal, acting_as, current_principal
from database.base import time_text

MAX_LIFETIME: Final = timedelta(hours=12)
_REMOVED_AT_ONCE = 500

logger = logging.getLogger("strongroom.sessions")


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that has begun."""

    value: str = field(repr=False)
    """What the browser has to send. It can't be shown again."""
    lifetime: timedelta
    """The time until the session expires."""


class EndedSession(Unauthenticated):
    """The session in a request's cookie has ended, or never was one."""

    def __init__(self) -> None:
        super().__init__("the session has ended: sign in again with POST /api/session")


class Sessions(UseCases):
    """Beginning, recognising and ending sessions."""

    def __init__(self, kit: Kit, tokens: Tokens) -> None:
        super().__init__(kit)
        self._tokens = tokens
        self._cache = tokens.cache
        self._key = kit.keys.session_macs
        self._told: set[int] = set()
        """Sessions whose forgery was logged."""

    async def begin(self, principal: Principal) -> NewSession:
        """A new session of the principal's token, until the token expires, but for `MAX_LIFETIME`
        at most. Raises `Unauthenticated` if the token has ended meanwhile, and `ValueError` for a
        principal without a token."""
        if principal.token_id is None:
            raise ValueError("only a token has sessions")
        with acting_as(principal):
            return await self._begin(principal.token_id, principal.expires_at)

    @unit_of_work
    async def _begin(self, token_id: int, token_expires_at: datetime | None) -> NewSession:
        now = self.clock()
        expires_at = now + MAX_LIFETIME
        if token_expires_at is not None:
            expires_at = min(expires_at, token_expires_at)
        secret = new_secret()
        async with self.transaction() as repositories:
            session_id = await repositories.sessions.add(
                token_id, self._mac(secret), time_text(expires_at)
            )
            await self.kit.audit.record(
                repositories,
                Kind.SESSION_CREATED,
                target=target_of(session_id),
                row=GuardedRow(SESSIONS, session_id),
            )
        return NewSession(token_text(session_id, secret, SESSION_PREFIX), expires_at - now)

    async def authenticate(self, value: str) -> Principal:
        """The principal of the session. Raises `EndedSession` unless the session and its token are
        valid now."""
        known = self._cache.get(value, SESSION)
        if known is None:
            generation = self._cache.generation
            known = await self._look_up(value, generation)
            self._cache.keep(value, known, generation, SESSION)
        now = self.clock()
        if known.principal.expires_at is not None and now >= known.principal.expires_at:
            raise EndedSession
        self._cache.note_use(known.token_id, now)
        return known.principal

    def known(self, value: bytes) -> Principal | None:
        """The principal that `authenticate` would return, if that needs no look-up; `None`
        otherwise. Notes no use."""
        known = self._cache.settled_session(value)
        if known is None:
            return None
        expires_at = known.principal.expires_at
        return known.principal if expires_at is None or self.clock() < expires_at else None

    async def end(self) -> None:
        """End the current principal's session; a token without a session stays as it is. Once this
        returns, the session is refused, and pending requests with it have no further effect.

        Raises `EndedSession` when another request has ended it meanwhile."""
        session = current_principal().session
        if session is not None:
            self._cache.begin_revocation()
            await shielded_then(self._end(session.id), self._cache.end_revocation)

    async def remove_expired(self) -> int:
        """Remove the rows of sessions that have expired. Returns their number. Called in the
        background. Raises `DatabaseError`; sessions that were removed before stay removed."""
        removed = 0
        while count := await self._remove_some():
            removed += count
        return removed

    @unit_of_work
    async def _end(self, session_id: int) -> None:
        async with self.transaction() as repositories:
            if await repositories.sessions.get(session_id) is None:
                raise EndedSession
            await remove_sessions(self.kit.audit, repositories, [session_id], Kind.SESSION_ENDED)

    @unit_of_work
    async def _remove_some(self) -> int:
        async with self.transaction() as repositories:
            now = time_text(self.clock())
            ids = await repositories.sessions.expired(now, _REMOVED_AT_ONCE)
            if ids:
                await remove_sessions(self.kit.audit, repositories, ids, Kind.SESSION_EXPIRED)
            return len(ids)

    async def _look_up(self, value: str, generation: int) -> KnownToken:
        parsed = parse_token(value, SESSION_PREFIX)
        if parsed is None:
            raise EndedSession
        session_id, secret = parsed
        stored, forgery = await self._stored(session_id)
        mac = self._mac(secret)
        # Compared for an unknown id as well, so that both cases take the same time.
        known = stored.mac if stored is not None else "0" * len(mac)
        # As bytes, because only ASCII strings can be compared, and the file may have another.
        if not hmac.compare_digest(mac.encode(), known.encode()) or stored is None:
            raise EndedSession
        if forgery is not None:
            self._tell(session_id, forgery)
            raise EndedSession
        token = await self._tokens.recall(stored.token_id, generation)
        if token is None:
            raise EndedSession
        return KnownToken(_in_session(token, stored), stored.token_id)

    @unit_of_work(read_only=True)
    async def _stored(self, session_id: int) -> tuple[StoredSession | None, Forgery | None]:
        """The session, and how it differs from the record, from one snapshot."""
        async with self.transaction() as repositories:
            stored = await repositories.sessions.get(session_id)
            forged = await self.kit.guard.forged(repositories, SESSIONS, [session_id])
            return stored, forged.get(session_id)

    def _tell(self, session_id: int, forgery: Forgery) -> None:
        if session_id not in self._told:
            self._told.add(session_id)
            logger.error(
                "session %d is refused: it was %s in the database file by something other than the "
                "service; run strongroom verify, and revoke its token",
                session_id,
                forgery.value,
            )

    def _mac(self, secret: str) -> str:
        return hmac.digest(self._key, secret.encode(), "sha256").hex()


def _in_session(token: Principal, stored: StoredSession) -> Principal:
    """The principal of a token, in this session of it."""
    ends_at = datetime.fromisoformat(stored.expires_at).astimezone(UTC)
    return replace(
        token,
        expires_at=min(ends_at, token.expires_at or ends_at),
        session=BrowserSession(stored.id, token.expires_at),
    )
