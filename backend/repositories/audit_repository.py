"""The audit: an append-only table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.paging import Page, Position, Query, fetch_page
from database.base import TableAccess
from database.engine import Value


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


class LinkedAuditRow(NamedTuple):
    """A row with its MAC, and the MAC of the row before it if that was removed for its age."""

    row: AuditRow
    mac: str
    previous_mac: str | None


class AuditAnchor(NamedTuple):
    """Where the chain begins once old rows were removed."""

    last_id: int
    """The id of the last row that was passed."""
    last_mac: str
    """The MAC of that row."""
    kept: int
    """How many rows up to it have stayed."""
    mac: str
    """Keyed; covers the other values and the rows that have stayed."""


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

    async def insert(self, rows: Sequence[Sequence[Value]]) -> None:
        """Store rows: the columns of `AuditRow`, and the MAC. Raises `UniqueViolation` when an id
        is taken."""
        await self.db.execute_many(_INSERT, rows)

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
        return await fetch_page(self.db, query, limit, AuditRow._make, ("id",))

    async def following(self, filter: AuditFilter, id: int, limit: int) -> list[LinkedAuditRow]:
        """Up to `limit` rows with greater ids than `id`, oldest first."""
        query = _filtered(filter, _LINKED)
        query.keyset(("id",), (id,), descending=False, limit=limit - 1)
        return [linked_row(row) for row in await self.db.fetch_all(*query.build())]

    async def anchor(self) -> AuditAnchor | None:
        """Where the chain begins; `None` before the first removal."""
        row = await self.db.fetch_one(f"SELECT {', '.join(AuditAnchor._fields)} FROM audit_anchor")
        return AuditAnchor(*row) if row is not None else None


def _filtered(filter: AuditFilter, columns: Sequence[str] = AuditRow._fields) -> Query:
    query = Query(f"SELECT {', '.join(columns)} FROM audit_entries")
    if filter.project_id is not None:
        query.where("project_id = ?", filter.project_id)
    if filter.action is not None:
        query.where("action = ?", filter.action)
    if filter.actor is not None:
        query.where("actor = ?", filter.actor)
    if filter.visible is not None:
        query.branch("project_id", filter.visible)
    return query


def linked_row(row: Iterable[Any]) -> LinkedAuditRow:
    """The row with the columns of `AuditRow`, `mac` and `previous_mac`."""
    values = tuple(row)
    return LinkedAuditRow(AuditRow._make(values[:-2]), values[-2], values[-1])


_COLUMNS = (*AuditRow._fields, "mac")
_PREVIOUS_MAC = (
    # The predecessor of the first row after the anchor is gone as well.
    "COALESCE(previous_mac, (SELECT last_mac FROM audit_anchor"
    " WHERE id = 1 AND last_id = audit_entries.id - 1))"
)
_LINKED = (*_COLUMNS, _PREVIOUS_MAC)
_INSERT = (
    f"INSERT INTO audit_entries ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
)
