"""Messages: an append-only conversation for each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from backend.repositories.paging import Page, Position, Query, fetch_page, json_members
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from database.portable_sql import among
from models import Message, MessageRole


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages; `None` for no filter."""

    agent_run_id: int | None = None
    role: MessageRole | None = None


class MessageRepository(BaseRepository[Message]):
    """The table `messages`. It is append-only; its rows are removed with their run."""

    versioned = False
    defaults = MappingProxyType({})

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(Message, "messages", db_manager, clock=clock)

    async def append(self, run_id: int, role: MessageRole, content: str) -> Message:
        """Add a message at the end of the run's conversation.

        Raises `ForeignKeyViolation` when the run does not exist.
        """
        columns = {"agent_run_id": run_id, "role": role.value, "content": content}
        return self.model(await self.insert({**columns, "created_at": self.now()}))

    async def page(
        self, filter: MessageFilter, *, limit: int, after: Position | None
    ) -> Page[Message]:
        """Up to `limit` messages, newest first, after the position `after`."""
        query = _selected(filter)
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)

    async def following(
        self, filter: MessageFilter, after_id: int, until_id: int | None, limit: int
    ) -> Page[Message]:
        """Up to `limit` messages after the id `after_id` and up to `until_id`, oldest first."""
        query = _selected(filter)
        if until_id is not None:
            query.where("id <= ?", until_id)
        query.keyset(("id",), (after_id,), descending=False, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)

    async def extent(self) -> tuple[int, int]:
        """The epoch, and the id of the newest message, even if that was removed. Call it inside a
        transaction, because it needs several statements."""
        row = await self.db.fetch_one("SELECT epoch FROM installation WHERE id = 1")
        last_id = await self.db.dialect.next_id(self.db, "messages") - 1
        return row["epoch"] if row is not None else 1, last_id

    async def runs_among(self, run_ids: Sequence[int]) -> frozenset[int]:
        """Those of these runs that exist."""
        rows = await self.db.fetch_all(
            f"SELECT id FROM agent_runs WHERE {among('id', run_ids)}", run_ids
        )
        return frozenset(row["id"] for row in rows)


def _selected(filter: MessageFilter) -> Query:
    query = Query("SELECT * FROM messages")
    if filter.agent_run_id is not None:
        query.where("agent_run_id = ?", filter.agent_run_id)
    if filter.role is not None:
        query.where("role = ?", filter.role.value)
    return query


_MEMBERS = json_members(Message)
