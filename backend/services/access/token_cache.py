"""Tokens that were recognised lately, so that a request needs no look-up; and when they were used.

Belongs to the event loop's thread, but for `is_settled`, which any thread may ask.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from backend.services.principal import Principal

_SIZE = 4096


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token whose MAC was right and which was not revoked when it was looked up."""

    principal: Principal
    token_id: int


class TokenCache:
    """Known tokens by a digest, so that the memory holds no token for long."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownToken] = {}
        self._used: dict[int, datetime] = {}
        self._generation = 0
        self._revocations = 0

    @property
    def generation(self) -> int:
        """Changes with each `clear`: what was looked up before may not be kept after."""
        return self._generation

    def is_settled(self, generation: int) -> bool:
        """Whether no token was revoked since this generation, and none is being revoked.

        Else a token that was looked up in it has to be looked up again: in a transaction, so that
        a revocation that shares its COMMIT counts.
        """
        return not self._revocations and generation == self._generation

    def begin_revocation(self) -> None:
        """Note that a token is about to be revoked; `end_revocation` follows in any case."""
        self._revocations += 1

    def end_revocation(self) -> None:
        """Note that the revocation was committed, or failed."""
        self._revocations -= 1
        self.clear()

    def get(self, token: str) -> KnownToken | None:
        """The token, if it is kept."""
        return self._known.get(_digest(token))

    def keep(self, token: str, known: KnownToken, generation: int) -> None:
        """Keep a token that was looked up in this generation."""
        # A look-up that began before a revocation may end after it.
        if generation != self._generation:
            return
        if len(self._known) >= _SIZE:
            self._known.clear()
        self._known[_digest(token)] = known

    def clear(self) -> None:
        """Keep nothing, so that every token is looked up anew."""
        self._generation += 1
        self._known.clear()

    def note_use(self, token_id: int, now: datetime) -> None:
        """Remember that the token was used."""
        self._used[token_id] = now

    def last_use(self, token_id: int) -> datetime | None:
        """When the token was last used, if that was noted since the last `take_uses`."""
        return self._used.get(token_id)

    def take_uses(self) -> dict[int, datetime]:
        """The last use of each token since the last call, by id."""
        uses, self._used = self._used, {}
        return uses

    def put_back(self, uses: dict[int, datetime]) -> None:
        """Remember uses that could not be stored; later ones stay."""
        self._used = uses | self._used


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
