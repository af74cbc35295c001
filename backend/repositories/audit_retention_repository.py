"""Finding and removing old rows of the audit. The rows are chained, so none is skipped: see
`backend.crypto.audit_chain`."""

from collections.abc import Sequence
from typing import Final

from backend.repositories.audit_repository import (
    AuditAnchor,
    AuditRow,
    LinkedAuditRow,
    linked_row,
)
from backend.repositories.guarded_rows import newest_id
from backend.repositories.retention_repository import SAMPLE
from database.base import TableAccess
from database.portable_sql import among, with_ids

KEPT_ACTIONS: Final = ("rows.guarding_finished", "rows.guarding_started")
"""Rows of these kinds are never removed: they say since when guarded rows have digests."""

_IS_SUPERSEDED = f"audit_entries.id < {newest_id('audit_entries.target')}"
_MAY_GO = f"NOT ({among('action', KEPT_ACTIONS)}) AND (digest IS NULL OR {_IS_SUPERSEDED})"
"""A row with a digest stays until its target has a newer one: guarded rows are compared with it."""
_SIZE = "length(actor) * 2 + length(target) * 2 + length(fields) + length(action) * 2"


class AuditRetentionRepository(TableAccess):
    """The old end of the table `audit_entries`, and the table `audit_anchor`."""

    async def set_anchor(self, anchor: AuditAnchor) -> None:
        """Move the anchor."""
        await self.db.execute(
            "INSERT INTO audit_anchor (id, last_id, last_mac, kept, mac) VALUES (1, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET last_id = excluded.last_id,"
            " last_mac = excluded.last_mac, kept = excluded.kept, mac = excluded.mac",
            anchor,
        )

    async def after(self, id: int, limit: int) -> list[LinkedAuditRow]:
        """Up to `limit` rows with greater ids than `id`, in order."""
        rows = await self.db.fetch_all(
            f"SELECT {_LINKED} FROM audit_entries WHERE id > ? ORDER BY id LIMIT ?", (id, limit)
        )
        return [linked_row(row) for row in rows]

    async def end_of_page(self, after_id: int, rows: int) -> int | None:
        """The id of the last of the next `rows` rows after `after_id`; `None` when there are
        fewer."""
        row = await self.db.fetch_one(
            "SELECT id FROM audit_entries WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?",
            (after_id, rows - 1),
        )
        return row["id"] if row is not None else None

    async def end_of_old(self, after_id: int, last_id: int, before: str) -> int:
        """The last id up to `last_id` before the first row after `after_id` that is not older than
        `before`."""
        young = await self.db.fetch_one(
            "SELECT id FROM audit_entries WHERE id > ? AND id <= ? AND at >= ? ORDER BY id LIMIT 1",
            (after_id, last_id, before),
        )
        return young["id"] - 1 if young is not None else last_id

    async def linked(self, ids: Sequence[int]) -> list[LinkedAuditRow]:
        """The rows with these ids, in order."""
        condition, params = with_ids(ids)
        rows = await self.db.fetch_all(
            f"SELECT {_LINKED} FROM audit_entries WHERE {condition} ORDER BY id", params
        )
        return [linked_row(row) for row in rows]

    async def newest_with_digest(self, ids: Sequence[int]) -> list[LinkedAuditRow]:
        """Of each target of the rows with these ids, the newest row that has a digest, with the MAC
        of its predecessor."""
        condition, params = with_ids(ids)
        rows = await self.db.fetch_all(
            f"SELECT {', '.join(AuditRow._fields)}, mac, {_PREDECESSOR} FROM audit_entries"
            f" WHERE id IN (SELECT {newest_id('old.target')} FROM audit_entries AS old"
            f" WHERE {condition})",
            params,
        )
        return [linked_row(row) for row in rows]

    async def set_previous_macs(self, macs: Sequence[tuple[str, int]]) -> None:
        """Give rows that stay the MACs of their predecessors: pairs of a MAC and the row's id."""
        if macs:
            await self.db.execute_many(
                "UPDATE audit_entries SET previous_mac = ? WHERE id = ?", macs
            )

    async def remove_between(self, first_id: int, last_id: int) -> int:
        """Remove the rows from `first_id` to `last_id` that have no `previous_mac`. Returns their
        number."""
        return await self.db.execute(
            "DELETE FROM audit_entries WHERE id BETWEEN ? AND ? AND previous_mac IS NULL",
            (first_id, last_id),
        )

    async def superseded(
        self, after_id: int, anchor_id: int, limit: int
    ) -> tuple[list[int], int | None]:
        """The ids of those that may go now among the next `limit` rows after `after_id` up to the
        anchor, and the id of the last of these rows; `None` when there are no more."""
        rows = await self.db.fetch_all(
            f"SELECT id, {_MAY_GO} AS may_go FROM audit_entries WHERE id > ? AND id <= ?"
            " ORDER BY id LIMIT ?",
            (*KEPT_ACTIONS, after_id, anchor_id, limit),
        )
        found = [row["id"] for row in rows if row["may_go"]]
        return found, rows[-1]["id"] if len(rows) == limit else None

    async def remove(self, ids: Sequence[int]) -> int:
        """Remove these rows. Returns their number."""
        return await self.db.execute(f"DELETE FROM audit_entries WHERE {among('id', ids)}", ids)

    async def count_between(self, after_id: int, last_id: int) -> int:
        """The number of rows after `after_id` up to `last_id` that may go. Reads these rows."""
        row = await self.db.fetch_one(
            f"SELECT count(*) AS rows FROM audit_entries WHERE id > ? AND id <= ? AND {_MAY_GO}",
            (after_id, last_id, *KEPT_ACTIONS),
        )
        return row["rows"] if row is not None else 0

    async def size(self) -> float:
        """The average number of characters in a sample of the oldest rows."""
        row = await self.db.fetch_one(
            f"SELECT avg(size) AS size FROM (SELECT {_SIZE} AS size FROM audit_entries"
            " ORDER BY id LIMIT ?) AS sample",
            (SAMPLE,),
        )
        return (row["size"] if row is not None else None) or 0.0


_LINKED = ", ".join((*AuditRow._fields, "mac", "previous_mac"))
_PREDECESSOR = (
    "COALESCE(previous_mac,"
    " (SELECT mac FROM audit_entries AS before WHERE before.id = audit_entries.id - 1),"
    " (SELECT last_mac FROM audit_anchor WHERE id = 1 AND last_id = audit_entries.id - 1))"
)
