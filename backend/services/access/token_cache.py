"""Recently recognised tokens and sessions, so that most requests need no look-up, and the last uses
of tokens.

Belongs to the event loop's thread, except `is_settled`, which any thread may call.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from backend.services.principal import Principal

_SIZE = 4096
TOKEN, SESSION = b"", b"s"
"""What a text in the cache is: neither is ever found as the other."""


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token whose MAC was right and which was not revoked when it was looked up."""

    principal: Principal
    token_id: int


class TokenCache:
    """Known tokens by their digests, so that no token stays in memory for long."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownToken] = {}
        self._used: dict[int, datetime] = {}
        self._generation = 0
        self._revocations = 0

    @property
    def generation(self) -> int:
        """Changes with each `clear`. A token that was looked up before may not be kept after."""
        return self._generation

    def is_settled(self, generation: int) -> bool:
        """Whether no token was revoked since this generation, and no revocation is under way.

        If not, a token of this generation must be looked up again, in a transaction, so that a
        revocation in the same COMMIT counts.
        """
        return not self._revocations and generation == self._generation

    def begin_revocation(self) -> None:
        """Note that a token or a session is about to end; `end_revocation` follows in any case."""
        self._revocations += 1

    def end_revocation(self) -> None:
        """Note that the end was committed, or failed."""
        self._revocations -= 1
        self.clear()

    def get(self, token: str, kind: bytes = TOKEN) -> KnownToken | None:
        """The token, or None if it is not in the cache."""
        return self._known.get(_digest(token) + kind)

    def settled(self, token: bytes) -> KnownToken | None:
        """The token, or None if it is not in the cache or may be about to be revoked."""
        # A revocation empties the cache, so a token in it was not revoked since its look-up.
        return self._known.get(sha256(token).digest()) if not self._revocations else None

    def settled_session(self, value: bytes) -> KnownToken | None:
        """The same for a session."""
        digest = sha256(value).digest()
        return self._known.get(digest + SESSION) if not self._revocations else None

    def keep(self, token: str, known: KnownToken, generation: int, kind: bytes = TOKEN) -> None:
        """Keep a token that was looked up in this generation."""
        # A look-up that began before a revocation may end after it.
        if generation != self._generation:
            return
        if len(self._known) >= _SIZE:
            self._known.clear()
        self._known[_digest(token) + kind] = known

    def clear(self) -> None:
        """Empty the cache, so that every token is looked up again."""
        self._generation += 1
        self._known.clear()

    def note_use(self, token_id: int, now: datetime) -> None:
        """Remember that the token was used."""
        self._used[token_id] = now

    def last_use(self, token_id: int) -> datetime | None:
        """When the token was last used since the last `take_uses`; None if it was not."""
        return self._used.get(token_id)

    def take_uses(self) -> dict[int, datetime]:
        """The last use of each token since the last call, by id."""
        uses, self._used = self._used, {}
        return uses

    def put_back(self, uses: dict[int, datetime]) -> None:
        """Remember uses that could not be stored; later ones stay."""
        self._used = uses | self._used


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()
