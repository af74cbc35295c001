"""API tokens: their names, scopes and MACs, never the tokens themselves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from backend.repositories.paging import Page, Position, Query, fetch_page
from database.base import TableAccess
from database.engine import Row
from database.portable_sql import among

T = TypeVar("T", str, int)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token's row."""

    id: int
    name: str
    mac: str = field(repr=False)
    """HMAC of the token's secret part, in hexadecimal."""
    scopes: frozenset[str]
    project_ids: frozenset[int] | None
    """The projects it is bound to; `None` for all."""
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """The columns of a new token."""

    name: str
    scopes: frozenset[str]
    project_ids: frozenset[int] | None = None
    expires_at: str | None = None


class ApiTokenRepository(TableAccess):
    """The table `api_tokens`."""

    async def get(self, token_id: int) -> StoredToken | None:
        """The token with this id, also when revoked or expired; `None` if no token has the id."""
        row = await self.db.fetch_one("SELECT * FROM api_tokens WHERE id = ?", (token_id,))
        return _token(row) if row is not None else None

    async def count(self) -> int:
        """The number of all tokens, revoked and expired ones included."""
        row = await self.db.fetch_one("SELECT count(*) FROM api_tokens")
        return int(row[0]) if row is not None else 0

    async def reserve(self, token: NewToken) -> int:
        """Insert a token without its MAC, and return its id. `set_mac` must follow in the same
        transaction; the MAC can't come first because the id is part of the token."""
        projects = token.project_ids
        rows = await self.db.execute_returning(
            "INSERT INTO api_tokens (name, mac, scopes, project_ids, created_at, expires_at)"
            " VALUES (?, 'reserved', ?, ?, ?, ?) RETURNING id",
            (
                token.name,
                json.dumps(sorted(token.scopes)),
                json.dumps(sorted(projects)) if projects is not None else None,
                self.now(),
                token.expires_at,
            ),
        )
        return int(rows[0]["id"])

    async def set_mac(self, token_id: int, mac: str) -> StoredToken:
        """Store the MAC of a token's secret part. Returns the token."""
        rows = await self.db.execute_returning(
            "UPDATE api_tokens SET mac = ? WHERE id = ? RETURNING *", (mac, token_id)
        )
        return _token(rows[0])

    async def page(self, *, revoked: bool, limit: int, after: Position | None) -> Page[StoredToken]:
        """Up to `limit` tokens, newest first, after the position `after`, including revoked ones
        with `revoked`."""
        query = Query("SELECT * FROM api_tokens")
        if not revoked:
            query.where("revoked_at IS NULL")
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, _token, ("id",))

    async def revoke(self, token_id: int) -> bool:
        """Mark the token revoked. `False` when it does not exist or is already revoked."""
        changed = await self.db.execute(
            "UPDATE api_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
            (self.now(), token_id),
        )
        return changed > 0

    async def not_revoked(self, token_ids: Sequence[int]) -> frozenset[int]:
        """Those of these ids whose token exists and is not revoked."""
        found: set[int] = set()
        for some in _portions(token_ids):
            rows = await self.db.fetch_all(
                f"SELECT id FROM api_tokens WHERE {among('id', some)} AND revoked_at IS NULL", some
            )
            found.update(row["id"] for row in rows)
        return frozenset(found)

    async def set_last_used(self, uses: Mapping[int, str]) -> None:
        """Store the last uses of tokens by id. A later time that is already stored stays."""
        await self.db.execute_many(
            "UPDATE api_tokens SET last_used_at = ?"
            " WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)",
            [(at, token_id, at) for token_id, at in uses.items()],
        )


def _portions(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _MOST_IDS] for start in range(0, len(ids), _MOST_IDS))


_MOST_IDS = 500
"""The most ids in one statement."""


def _token(row: Row) -> StoredToken:
    # A list that was damaged in the file opens nothing, and is no obstacle to listing and revoking.
    projects = row["project_ids"]
    return StoredToken(
        id=row["id"],
        name=row["name"],
        mac=row["mac"],
        scopes=_members(row["scopes"], str),
        project_ids=_members(projects, int) if projects is not None else None,
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )


def _members(text: str, of: type[T]) -> frozenset[T]:
    """The members of a JSON list, all of this type; none when the text is anything else."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return frozenset()
    if not isinstance(members, list) or not all(type(member) is of for member in members):
        return frozenset()
    return frozenset(members)
