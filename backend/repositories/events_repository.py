"""The record of changes, read from the oldest entry on."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.repositories.audit_repository import AuditRow
from backend.repositories.paging import Page, Query, fetch_page
from database.base import TableAccess


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which entries are read; `None` for all."""

    kinds: tuple[str, ...] | None = None
    """Only entries of these kinds."""
    project_ids: tuple[int, ...] | None = None
    """Only entries about these projects."""
    target: str | None = None
    """Only entries about this resource."""


class EventsRepository(TableAccess):
    """The table `audit_entries`, whose rows are events."""

    async def following(
        self, filter: EventFilter, after_id: int, until_id: int | None, limit: int
    ) -> Page[AuditRow]:
        """Up to `limit` rows after `after_id` and up to `until_id`, oldest first."""
        query = Query(f"SELECT {', '.join(AuditRow._fields)} FROM audit_entries")
        if until_id is not None:
            query.where("id <= ?", until_id)
        if filter.target is not None:
            query.where("target = ?", filter.target)
        if filter.project_ids is not None:
            query.branch("project_id", filter.project_ids)
        if filter.kinds is not None:
            query.branch("action", filter.kinds)
        query.keyset(("id",), (after_id,), descending=False, limit=limit)
        return await fetch_page(self.db, query, limit, AuditRow._make, ("id",))

    async def extent(self) -> tuple[int, int, int]:
        """The epoch, the id up to which old rows were removed, and the id of the newest row."""
        row = await self.db.fetch_one(
            "SELECT (SELECT epoch FROM installation WHERE id = 1) AS epoch,"
            " (SELECT last_id FROM audit_anchor WHERE id = 1) AS removed_id,"
            " (SELECT max(id) FROM audit_entries) AS last_id"
        )
        values: Sequence[int | None] = tuple(row) if row is not None else (None, None, None)
        epoch, removed_id, last_id = values
        return epoch or 1, removed_id or 0, last_id or 0
