"""The audit: an append-only table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.paging import Page, Position, Query, fetch_page
from database.base import TableAccess
from database.connection_manager import DatabaseManager
from database.engine import Row
from database.portable_sql import among


class UnnumberedRow(NamedTuple):
    """A row of the table without its id and its MAC, which depend on the rows before it, and
    without its digest, which depends on the whole batch."""

    at: str
    actor: str
    actor_token_id: int | None
    action: str
    target: str
    project_id: int | None
    fields: str
    """The names of the changed fields: a JSON list, sorted, without spaces."""
    request_id: str | None
    version: int | None = None
    """The version that the resource now has; `None` when it has none."""
    address: str | None = None
    """The client's address; `None` for commands and the service itself."""
    row: GuardedRow | None = None
    """The guarded row that was created, changed or deleted."""


class AuditRow(NamedTuple):
    """A row of the table without its MAC."""

    id: int
    at: str
    actor: str
    actor_token_id: int | None
    action: str
    target: str
    project_id: int | None
    fields: str
    request_id: str | None
    version: int | None
    digest: str | None
    """The digest of the guarded row as the change left it; `None` when none was changed, and when
    a later entry of the same transaction has it."""
    address: str | None


class AuditHead(NamedTuple):
    """The end of the chain."""

    id: int
    mac: str


class StoredAuditRow(NamedTuple):
    """A row with its MAC."""

    row: AuditRow
    mac: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The filters of a list of the audit; `None` for no filter."""

    project_id: int | None = None
    action: str | None = None
    actor: str | None = None
    """The actor's name."""
    visible: tuple[int, ...] | None = None
    """Only rows about these projects; `None` for all rows."""


class AuditRepository(TableAccess):
    """The table `audit_entries`."""

    async def head(self) -> AuditHead | None:
        """The newest row's id and MAC, or `None` before the first row."""
        row = await self.db.fetch_one("SELECT id, mac FROM audit_entries ORDER BY id DESC LIMIT 1")
        return AuditHead(row[0], row[1]) if row is not None else None

    async def append(self, rows: Sequence[UnnumberedRow]) -> None:
        """Append rows to the transaction, or in one of their own. They get their ids and MACs, and
        are stored, when the transaction is committed."""
        await self.db.append(rows)

    def waiting(self) -> Sequence[UnnumberedRow]:
        """The rows that were appended to the open transaction so far."""
        return self.db.waiting_entries()

    async def insert(self, rows: Sequence[tuple[AuditRow, str]]) -> None:
        """Store rows with their MACs. Raises `UniqueViolation` when an id is taken."""
        await self.db.execute_many(_INSERT, [(*row, mac) for row, mac in rows])

    async def mac_of(self, id: int) -> str | None:
        """The MAC of the row with this id, or `None` if no row has the id."""
        row = await self.db.fetch_one("SELECT mac FROM audit_entries WHERE id = ?", (id,))
        return row["mac"] if row is not None else None

    async def has(self, action: str, target: str) -> bool:
        """Whether a row has this action and target."""
        row = await self.db.fetch_one(
            "SELECT 1 FROM audit_entries WHERE action = ? AND target = ? LIMIT 1", (action, target)
        )
        return row is not None

    async def page(
        self, filter: AuditFilter, *, limit: int, after: Position | None
    ) -> Page[AuditRow]:
        """Up to `limit` rows, newest first, after the position `after`."""
        query = _filtered(filter)
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, _audit_row, ("id",))

    async def following(self, filter: AuditFilter, id: int, limit: int) -> list[StoredAuditRow]:
        """Up to `limit` rows with greater ids than `id`, oldest first."""
        query = _filtered(filter)
        query.keyset(("id",), (id,), descending=False, limit=limit - 1)
        return [
            StoredAuditRow(_audit_row(row), row["mac"])
            for row in await self.db.fetch_all(*query.build())
        ]


def _filtered(filter: AuditFilter) -> Query:
    query = Query(f"SELECT {', '.join(_COLUMNS)} FROM audit_entries")
    if filter.project_id is not None:
        query.where("project_id = ?", filter.project_id)
    if filter.action is not None:
        query.where("action = ?", filter.action)
    if filter.actor is not None:
        query.where("actor = ?", filter.actor)
    if filter.visible is not None:
        query.branch("project_id", filter.visible)
    return query


def _audit_row(row: Row) -> AuditRow:
    return AuditRow(*tuple(row)[:-1])


_COLUMNS = (*AuditRow._fields, "mac")
_INSERT = (
    f"INSERT INTO audit_entries ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
)


# For commands on a database without a running server: synchronous, and in small reads.


def read_audit_rows(db_manager: DatabaseManager, after_id: int, limit: int) -> list[StoredAuditRow]:
    """Up to `limit` rows with greater ids than `after_id`, in order. Raises `DatabaseError`."""
    # In a backup of an earlier version, the last columns don't exist yet.
    rows = db_manager.execute_query(
        "SELECT * FROM audit_entries WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit)
    )
    return [
        StoredAuditRow(AuditRow._make(map(row.get, AuditRow._fields)), row["mac"]) for row in rows
    ]


def read_audit_ids(db_manager: DatabaseManager, after_id: int, limit: int) -> list[int]:
    """The ids of those rows. Raises `DatabaseError`."""
    rows = db_manager.execute_query(
        "SELECT id FROM audit_entries WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit)
    )
    return [row["id"] for row in rows]


def read_audit_macs(db_manager: DatabaseManager, ids: Sequence[int]) -> dict[int, str]:
    """The MACs of the rows with these ids, by id, without missing rows. Raises `DatabaseError`."""
    rows = db_manager.execute_query(
        f"SELECT id, mac FROM audit_entries WHERE {among('id', ids)}", tuple(ids)
    )
    return {row["id"]: row["mac"] for row in rows}


class GuardingState(NamedTuple):
    """The entries that tell whether the rows of the database are guarded."""

    finished_id: int | None
    started_id: int | None
    last_id: int | None
    has_digest: bool


def read_guarding_state(db_manager: DatabaseManager) -> GuardingState:
    """The state of the guarding. Raises `DatabaseError`."""
    newest = "(SELECT max(id) FROM audit_entries WHERE action = 'rows.guarding_{}')"
    [row] = db_manager.execute_query(
        f"SELECT {newest.format('finished')} AS finished, {newest.format('started')} AS started,"
        " (SELECT max(id) FROM audit_entries) AS last,"
        " EXISTS (SELECT 1 FROM audit_entries WHERE digest IS NOT NULL) AS has_digest"
    )
    return GuardingState(row["finished"], row["started"], row["last"], bool(row["has_digest"]))


def read_first_other(db_manager: DatabaseManager, after_id: int, action: str) -> int | None:
    """The first entry after `after_id` that has another action; `None` without one. Raises
    `DatabaseError`."""
    rows = db_manager.execute_query(
        "SELECT min(id) AS id FROM audit_entries WHERE id > ? AND action <> ?", (after_id, action)
    )
    return rows[0]["id"] if rows else None


def read_removed_id(db_manager: DatabaseManager) -> int:
    """The id up to which retention has removed entries; 0 if it has removed none. Raises
    `DatabaseError`."""
    rows = db_manager.execute_query("SELECT last_id FROM audit_anchor")
    return max((row["last_id"] for row in rows), default=0)
