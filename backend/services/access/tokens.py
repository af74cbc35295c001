"""Use cases for API tokens. Only a MAC of a token's secret is stored."""

import hmac
import logging
from collections.abc import Callable, Collection

from backend.crypto.token_format import new_secret, parse_token, token_text
from backend.errors import InvalidField, TokenNotFound, Unauthenticated
from backend.repositories import Repositories
from backend.repositories.api_token_repository import NewToken, StoredToken
from backend.repositories.guarded_kinds import TOKENS
from backend.repositories.guarded_rows import GuardedRow
from backend.schemas.tokens import (
    TokenCreate,
    TokenCreated,
    TokenIdentity,
    TokenInfo,
    TokenList,
)
from backend.services.access.ended_sessions import remove_sessions
from backend.services.access.stored_tokens import identity_of, known_token, require_stored
from backend.services.access.token_cache import KnownToken, TokenCache
from backend.services.base import Kit, UseCases, shielded_then, unit_of_work
from backend.services.guard import Forgery
from backend.services.kinds import Kind
from backend.services.principal import ADMIN, Principal, current_principal
from database.base import time_text
from database.engine import in_unit_of_work
from database.errors import DatabaseError

_FIRST_ID = 1
"""The id of the first token of every installation."""

logger = logging.getLogger("strongroom.tokens")


class Tokens(UseCases):
    """Creating, recognising, listing and revoking tokens."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._token_key = kit.keys.token_macs
        self._cache = TokenCache()
        self._told: set[int] = set()
        """Tokens whose forgery was logged."""

    @property
    def cache(self) -> TokenCache:
        """The recently recognised tokens, and their sessions."""
        return self._cache

    async def create_first(self, keep: Callable[[str], None]) -> bool:
        """Create an admin token if there never was a token, and pass it to `keep`. Returns whether
        one was created. Tokens that were deleted outside the service count.

        The token is committed after `keep` has returned, so that a crash leaves no token behind
        that was not kept.
        """
        async with self.transaction() as repositories:
            if await repositories.tokens.count():
                return False
            if await repositories.guarded_rows.newest(_target(_FIRST_ID)) is not None:
                logger.error(
                    "all tokens were deleted from the database file by something other than the "
                    "service; create one with: strongroom token create"
                )
                return False
            _, token = await self._issue(repositories, NewToken("admin", frozenset({ADMIN})))
            keep(token)
            return True

    @unit_of_work
    async def create(self, request: TokenCreate) -> TokenCreated:
        """A new token. It can't be shown again. Raises `ValidationFailed`."""
        async with self.transaction() as repositories:
            return await self._make_token(repositories, request)

    async def hand_out(self, request: TokenCreate, show: Callable[[TokenCreated], None]) -> None:
        """Create a token and pass it to `show`, for commands. If `show` raises, the token is not
        created, because it was not seen. Raises `ValidationFailed`, and what `show` raises."""
        async with self.transaction() as repositories:
            show(await self._make_token(repositories, request))

    async def _make_token(self, repositories: Repositories, request: TokenCreate) -> TokenCreated:
        await _check_projects(repositories, request.project_ids)
        stored, token = await self._issue(repositories, self._new_token(request))
        return TokenCreated(**dict(self._info(stored)), token=token)

    async def get(self, token_id: int) -> TokenInfo:
        """The token, also when it is revoked. Raises `TokenNotFound`."""
        stored = await self.repositories.tokens.get(token_id)
        if stored is None:
            raise TokenNotFound
        return self._info(stored)

    async def page(
        self, *, revoked: bool = False, limit: int = 50, cursor: str | None = None
    ) -> TokenList:
        """One page of tokens, newest first, including revoked ones with `revoked`. Raises
        `BadCursor`."""
        listing = self.kit.listing("tokens", revoked, cursor=cursor)
        page = await self.repositories.tokens.page(
            revoked=revoked, limit=limit, after=listing.after
        )
        return listing.answer(TokenList, page, tokens=[self._info(item) for item in page.items])

    async def revoke(self, token_id: int) -> None:
        """Revoke the token. Once this returns, the token is refused, and pending requests with it
        have no further effect.

        Raises `TokenNotFound`, also when it is already revoked. A token that was changed or deleted
        outside the service can be revoked again, which settles it."""
        self._cache.begin_revocation()
        await shielded_then(self._revoke(token_id), self._cache.end_revocation)

    async def authenticate(self, token: str) -> Principal:
        """The principal of the token. Raises `Unauthenticated` unless the token is valid now."""
        known = self._cache.get(token)
        if known is None:
            generation = self._cache.generation
            known = await self._look_up(token, generation)
            self._cache.keep(token, known, generation)
        now = self.clock()
        if known.principal.expires_at is not None and now >= known.principal.expires_at:
            raise Unauthenticated
        self._cache.note_use(known.token_id, now)
        return known.principal

    def known(self, token: bytes) -> Principal | None:
        """The principal that `authenticate` would return, if that needs no look-up; `None`
        otherwise, and when the token may have ended. Notes no use."""
        known = self._cache.settled(token)
        if known is None:
            return None
        expires_at = known.principal.expires_at
        if expires_at is not None and self.clock() >= expires_at:
            return None
        return known.principal

    async def recall(self, token_id: int, generation: int) -> Principal | None:
        """The principal of a token whose session was recognised; `None` when the token is revoked,
        or not as the record left it."""
        stored, forgery = await self._stored(token_id)
        if stored is not None and forgery is not None:
            self._tell(token_id, forgery)
        if stored is None or forgery is not None or stored.revoked_at is not None:
            return None
        return known_token(stored, generation).principal

    async def identity(self) -> TokenIdentity:
        """What the current principal is and may do."""
        return identity_of(current_principal())

    def note_use(self, token_id: int) -> None:
        """Remember that the token was used now."""
        self._cache.note_use(token_id, self.clock())

    def may_have_ended(self, principal: Principal) -> bool:
        """Whether the principal's token has expired, or may have been revoked, since it was
        recognised. If so, call `require_valid`. Cheap, and callable on any thread."""
        if principal.token_id is None:
            return False
        expires_at = principal.expires_at
        if expires_at is not None and self.clock() >= expires_at:
            return True
        return not self._cache.is_settled(principal.generation)

    @property
    def generation(self) -> int:
        """Changes whenever a token may have been revoked."""
        return self._cache.generation

    def is_settled(self, principal: Principal) -> bool:
        """Whether no token was revoked since the principal was recognised."""
        return self._cache.is_settled(principal.generation)

    async def ended_among(self, principals: Collection[Principal]) -> frozenset[Principal]:
        """Those of these principals whose token was revoked, or whose session has ended. They may
        have expired as well."""
        tokens = {one.token_id for one in principals if one.token_id is not None}
        sessions = {one.session.id for one in principals if one.session is not None}
        valid = await self.repositories.tokens.not_revoked(sorted(tokens))
        going_on = await self.repositories.sessions.existing(sorted(sessions))
        return frozenset(
            one
            for one in principals
            if (one.token_id is not None and one.token_id not in valid)
            or (one.session is not None and one.session.id not in going_on)
        )

    async def require_valid(self, principal: Principal) -> None:
        """Raises `Unauthenticated` when the principal's token or session has ended since it was
        recognised.

        In a unit of work, it reads in the unit's transaction, so that an earlier revocation in the
        same batch counts.
        """
        if principal.token_id is None or not self.may_have_ended(principal):
            return
        if principal.expires_at is not None and self.clock() >= principal.expires_at:
            raise Unauthenticated
        if in_unit_of_work():
            async with self.transaction() as repositories:
                await require_stored(repositories, principal.token_id, principal.session)
        else:
            await require_stored(self.repositories, principal.token_id, principal.session)

    async def store_uses(self) -> None:
        """Store the last uses of tokens since the last call. Called in the background and when the
        service stops. Raises `DatabaseError`, and then keeps the uses for the next call."""
        uses = self._cache.take_uses()
        if not uses:
            return
        try:
            await self.repositories.tokens.set_last_used(
                {token_id: time_text(at) for token_id, at in uses.items()}
            )
        except DatabaseError:
            self._cache.put_back(uses)
            raise

    @unit_of_work
    async def _revoke(self, token_id: int) -> None:
        async with self.transaction() as repositories:
            if not await repositories.tokens.revoke(token_id) and not await self._is_unsettled(
                repositories, token_id
            ):
                raise TokenNotFound
            await self.kit.audit.record(
                repositories,
                Kind.TOKEN_REVOKED,
                target=_target(token_id),
                row=GuardedRow(TOKENS, token_id),
            )
            sessions = await repositories.sessions.of_token(token_id)
            await remove_sessions(self.kit.audit, repositories, sessions, Kind.SESSION_ENDED)

    async def _is_unsettled(self, repositories: Repositories, token_id: int) -> bool:
        """Whether the token's row was changed or deleted outside the service."""
        if await repositories.tokens.get(token_id) is None:
            return await self.kit.guard.must_exist(repositories, TOKENS, _target(token_id))
        return not await self.kit.guard.is_genuine(repositories, TOKENS, token_id)

    def _new_token(self, request: TokenCreate) -> NewToken:
        if request.expires_in is not None and request.expires_at is not None:
            raise InvalidField(
                ("expires_at",), "expiry_twice", "give expires_in or expires_at, not both"
            )
        now = self.clock()
        expires_at = request.expiry(now)
        if expires_at is not None and expires_at <= now:
            raise InvalidField(("expires_at",), "expiry_past", "must be a time in the future")
        return NewToken(
            name=request.name,
            scopes=frozenset(scope.value for scope in request.scopes),
            project_ids=frozenset(request.project_ids) if request.project_ids else None,
            expires_at=time_text(expires_at) if expires_at is not None else None,
        )

    async def _issue(self, repositories: Repositories, new: NewToken) -> tuple[StoredToken, str]:
        token_id = await repositories.tokens.reserve(new)
        secret = new_secret()
        stored = await repositories.tokens.set_mac(token_id, self._mac(token_id, secret))
        given = {"project_ids": new.project_ids, "expires_at": new.expires_at}
        await self.kit.audit.record(
            repositories,
            Kind.TOKEN_CREATED,
            target=_target(token_id),
            fields=["name", "scopes", *(name for name, value in given.items() if value)],
            row=GuardedRow(TOKENS, token_id),
        )
        return stored, token_text(token_id, secret)

    async def _look_up(self, token: str, generation: int) -> KnownToken:
        parsed = parse_token(token)
        if parsed is None:
            raise Unauthenticated
        token_id, secret = parsed
        stored, forgery = await self._stored(token_id)
        mac = self._mac(token_id, secret)
        # Compared for an unknown id as well, so that both cases take the same time.
        known = stored.mac if stored is not None else "0" * len(mac)
        # As bytes, because only ASCII strings can be compared, and the file may have another.
        if not hmac.compare_digest(mac.encode(), known.encode()) or stored is None:
            raise Unauthenticated
        if forgery is not None:
            self._tell(token_id, forgery)
            raise Unauthenticated
        if stored.revoked_at is not None:
            raise Unauthenticated
        return known_token(stored, generation)

    @unit_of_work(read_only=True)
    async def _stored(self, token_id: int) -> tuple[StoredToken | None, Forgery | None]:
        """The token, and how it differs from the record, from one snapshot."""
        async with self.transaction() as repositories:
            stored = await repositories.tokens.get(token_id)
            forged = await self.kit.guard.forged(repositories, TOKENS, [token_id])
            return stored, forged.get(token_id)

    def _tell(self, token_id: int, forgery: Forgery) -> None:
        if token_id not in self._told:
            self._told.add(token_id)
            logger.error(
                "token %d is refused: it was %s in the database file by something other than the "
                "service; run strongroom verify, and revoke it",
                token_id,
                forgery.value,
            )

    def _mac(self, token_id: int, secret: str) -> str:
        message = f"{token_id}:{secret}".encode()
        return hmac.digest(self._token_key, message, "sha256").hex()

    def _info(self, stored: StoredToken) -> TokenInfo:
        last_use = self._cache.last_use(stored.id)
        # Not validated, so that a row that was damaged in the file can be seen and revoked.
        return TokenInfo.model_construct(
            id=stored.id,
            name=stored.name,
            scopes=sorted(stored.scopes),
            project_ids=sorted(stored.project_ids) if stored.project_ids is not None else None,
            created_at=stored.created_at,
            expires_at=stored.expires_at,
            last_used_at=time_text(last_use) if last_use is not None else stored.last_used_at,
            revoked_at=stored.revoked_at,
        )


def _target(token_id: int) -> str:
    """The target of a token's entries in the record."""
    return f"tokens/{token_id}"


async def _check_projects(repositories: Repositories, project_ids: list[int] | None) -> None:
    for index, project_id in enumerate(project_ids or ()):
        if not await repositories.projects.exists(project_id):
            raise InvalidField(
                ("project_ids", index), "project_not_found", "no project has this id"
            )
