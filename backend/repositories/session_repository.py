"""Sessions of browsers: the MACs of their secrets, never the secrets themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from database.base import TableAccess
from database.portable_sql import among


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session's row."""

    id: int
    token_id: int
    """The token that it stands for."""
    mac: str = field(repr=False)
    """HMAC of the secret in its cookie, in hexadecimal."""
    expires_at: str


_MOST_IDS = 500
"""The most ids in one statement."""


class SessionRepository(TableAccess):
    """The table `sessions`."""

    async def get(self, session_id: int) -> StoredSession | None:
        """The session with this id, also when it has expired; `None` if no session has the id."""
        row = await self.db.fetch_one(
            "SELECT id, token_id, mac, expires_at FROM sessions WHERE id = ?", (session_id,)
        )
        return StoredSession(*row) if row is not None else None

    async def add(self, token_id: int, mac: str, expires_at: str) -> int:
        """Insert a session of a token. Returns its id."""
        rows = await self.db.execute_returning(
            "INSERT INTO sessions (token_id, mac, created_at, expires_at)"
            " VALUES (?, ?, ?, ?) RETURNING id",
            (token_id, mac, self.now(), expires_at),
        )
        return int(rows[0]["id"])

    async def existing(self, session_ids: Sequence[int]) -> frozenset[int]:
        """Those of these ids that a session has. It may have expired."""
        found: set[int] = set()
        for start in range(0, len(session_ids), _MOST_IDS):
            some = session_ids[start : start + _MOST_IDS]
            rows = await self.db.fetch_all(
                f"SELECT id FROM sessions WHERE {among('id', some)}", some
            )
            found.update(row["id"] for row in rows)
        return frozenset(found)

    async def of_token(self, token_id: int) -> list[int]:
        """The ids of the token's sessions, in their order."""
        rows = await self.db.fetch_all(
            "SELECT id FROM sessions WHERE token_id = ? ORDER BY id", (token_id,)
        )
        return [row[0] for row in rows]

    async def expired(self, now: str, limit: int) -> list[int]:
        """The ids of up to `limit` sessions that have expired by `now`, those that expired first
        before others."""
        rows = await self.db.fetch_all(
            "SELECT id FROM sessions WHERE expires_at <= ? ORDER BY expires_at, id LIMIT ?",
            (now, limit),
        )
        return [row[0] for row in rows]

    async def remove(self, ids: Sequence[int]) -> int:
        """Delete the sessions with these ids. Returns their number, without missing ones."""
        return await self.db.execute(f"DELETE FROM sessions WHERE {among('id', ids)}", tuple(ids))
