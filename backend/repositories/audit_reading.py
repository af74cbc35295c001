"""Reading the whole audit, for its verification: synchronous, and in small reads."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from backend.repositories.audit_repository import (
    AuditAnchor,
    AuditRow,
    LinkedAuditRow,
    linked_row,
)
from database.connection_manager import DatabaseManager
from database.engine import Row
from database.portable_sql import among

_COLUMNS = (*AuditRow._fields, "mac", "previous_mac")


class GuardingState(NamedTuple):
    """The entries that tell whether the rows of the database are guarded."""

    finished_id: int | None
    started_id: int | None
    has_digest: bool


class AuditReader:
    """Reads the audit of a database, also of a backup that an earlier version made.

    Every method raises `DatabaseError`.
    """

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self._columns = ""
        self._has_anchor: bool | None = None

    def anchor(self) -> AuditAnchor | None:
        """Where the chain begins; `None` when it begins with the first row."""
        if self._has_anchor is None:
            self._has_anchor = self._db.has_tables("audit_anchor")
        if not self._has_anchor:
            return None
        rows = self._db.fetch_tuples(f"SELECT {', '.join(AuditAnchor._fields)} FROM audit_anchor")
        return AuditAnchor._make(rows[0]) if rows else None

    def rows(self, after_id: int, limit: int) -> list[LinkedAuditRow]:
        """Up to `limit` rows with greater ids than `after_id`, in order."""
        found = self._db.fetch_tuples(
            f"SELECT {self._selected()} FROM audit_entries WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [linked_row(row) for row in found]

    def ids(self, after_id: int, limit: int) -> list[int]:
        """The ids of those rows."""
        found = self._db.fetch_tuples(
            "SELECT id FROM audit_entries WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit)
        )
        return [row[0] for row in found]

    def each_kept(self, takes: Callable[[AuditAnchor, LinkedAuditRow | None], bool]) -> None:
        """Call `takes` with the anchor and each row up to it until it returns False; with `None`
        when there is an anchor, but no such row. All show the same moment. They are not sorted,
        because that would read all of them first."""
        anchor = ", ".join(f"anchor.{name}" for name in AuditAnchor._fields)
        columns = ", ".join(f"kept.{name}" for name in _COLUMNS)
        split = len(AuditAnchor._fields)

        def take(row: Row) -> bool:
            values = tuple(row)
            kept = linked_row(values[split:]) if values[split] is not None else None
            return takes(AuditAnchor._make(values[:split]), kept)

        self._db.fetch_while(
            f"SELECT {anchor}, {columns} FROM audit_anchor AS anchor"
            " LEFT JOIN audit_entries AS kept ON kept.id <= anchor.last_id",
            (),
            take,
        )

    def macs(self, ids: Sequence[int]) -> dict[int, str]:
        """The MACs of the rows with these ids, by id, without missing rows."""
        rows = self._db.fetch_tuples(
            f"SELECT id, mac FROM audit_entries WHERE {among('id', ids)}", tuple(ids)
        )
        return {row[0]: row[1] for row in rows}

    def guarding_state(self) -> GuardingState:
        """The state of the guarding of rows."""
        newest = "(SELECT max(id) FROM audit_entries WHERE action = 'rows.guarding_{}')"
        [row] = self._db.fetch_tuples(
            f"SELECT {newest.format('finished')}, {newest.format('started')},"
            " EXISTS (SELECT 1 FROM guarded_targets)"
            # The record itself, so that who empties that table has nothing guarded again.
            " OR EXISTS (SELECT 1 FROM audit_entries WHERE digest IS NOT NULL)"
        )
        return GuardingState(row[0], row[1], bool(row[2]))

    def has_any(self, actions: Sequence[str]) -> bool:
        """Whether a row has one of these actions."""
        [row] = self._db.fetch_tuples(
            f"SELECT EXISTS (SELECT 1 FROM audit_entries WHERE {among('action', actions)})",
            tuple(actions),
        )
        return bool(row[0])

    def first_other(self, after_id: int, action: str) -> int | None:
        """The id of the first row after `after_id` with another action; `None` without one."""
        [row] = self._db.fetch_tuples(
            "SELECT min(id) FROM audit_entries WHERE id > ? AND action <> ?", (after_id, action)
        )
        return int(row[0]) if row[0] is not None else None

    def _selected(self) -> str:
        if not self._columns:
            # In a backup of an earlier version, the last columns don't exist yet.
            first = self._db.execute_query("SELECT * FROM audit_entries LIMIT 1")
            exist = set(first[0] if first else _COLUMNS)
            self._columns = ", ".join(
                name if name in exist else f"NULL AS {name}" for name in _COLUMNS
            )
        return self._columns
