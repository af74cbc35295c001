"""The guarded rows: those that decide who may do what, and what agents follow."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from backend.repositories.guarded_kinds import GUARDED_KINDS, GuardedKind
from database.base import TableAccess
from database.engine import Row, Value
from database.portable_sql import among, with_ids

_AT_ONCE = 500
"""The number of ids in one statement."""
_LEAST_ID = -(2**63)
"""The least id that a row can have."""


class GuardedRow(NamedTuple):
    """A guarded row that a change left, or deleted."""

    kind: GuardedKind
    id: int | None
    """`None` for a row that was deleted."""
    values: tuple[Value, ...] | None = None
    """The values that its digest covers, if the change knows all of them."""


class NewestEntry(NamedTuple):
    """The newest entry of a target that has a digest."""

    id: int
    version: int | None
    digest: str


class TargetEntry(NamedTuple):
    """The newest entry of a target, with the target."""

    target: str
    project_id: int | None
    entry: NewestEntry


class RecordedRow(NamedTuple):
    """A guarded row, and the entries that say whether it is genuine."""

    id: int
    target: str
    values: tuple[Value, ...]
    """The values that a digest covers."""
    entry: NewestEntry | None
    """The newest entry of the row; `None` when there is none."""
    project_id: int | None
    """Its project; `None` when it belongs to none."""
    project_target: str | None
    project_entry: NewestEntry | None
    """The newest entry of its project; `None` when it belongs to none or there is none."""


_values_of = {kind.name: itemgetter(*kind.columns) for kind in GUARDED_KINDS}


def signed_values(kind: GuardedKind, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values of a row that its digest covers: those of `kind.columns`, without later columns
    at the end that are null."""
    if not kind.later or values[-1] is not None:
        return values
    end, least = len(values) - 1, len(values) - kind.later
    while end > least and values[end - 1] is None:
        end -= 1
    return values[:end]


def written_row(kind: GuardedKind, columns: Mapping[str, Value]) -> GuardedRow:
    """A guarded row with these columns, as it was just written."""
    values = _values_of[kind.name](columns)
    return GuardedRow(kind, values[0], values)


class GuardedRowsRepository(TableAccess):
    """The rows of all guarded tables, and their newest entries in the record."""

    async def values(self, kind: GuardedKind, ids: Sequence[int]) -> dict[int, tuple[Value, ...]]:
        """The guarded values of the rows with these ids, which are distinct, by id, without missing
        rows."""
        found: dict[int, tuple[Value, ...]] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            condition, params = with_ids(some)
            rows = await self.db.fetch_all(f"{_VALUES[kind.name]} WHERE {condition}", params)
            for row in rows:
                found[row[0]] = tuple(row)
        return found

    async def recorded(self, kind: GuardedKind, ids: Sequence[int]) -> list[RecordedRow]:
        """The rows with these ids with their newest entries, without missing rows, in the order of
        their ids."""
        found: list[RecordedRow] = []
        ordered = sorted(ids)
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            rows = await self.db.fetch_all(
                f"{_SELECTS[kind.name]} WHERE {among('t.id', some)} ORDER BY t.id", tuple(some)
            )
            found += map(_recorded, rows)
        return found

    async def recorded_of(self, kind: GuardedKind, project_ids: Sequence[int]) -> list[RecordedRow]:
        """The same for the rows of these projects, of a kind that belongs to projects, in any
        order."""
        rows = await self.db.fetch_all(
            f"{_SELECTS[kind.name]} WHERE {among('t.project_id', project_ids)}", tuple(project_ids)
        )
        return [_recorded(row) for row in rows]

    async def recorded_after(
        self, kind: GuardedKind, after_id: int | None, limit: int
    ) -> list[RecordedRow]:
        """The same for up to `limit` rows with greater ids than `after_id`; with `None`, from the
        least id on."""
        beyond, start = (">", after_id) if after_id is not None else (">=", _LEAST_ID)
        rows = await self.db.fetch_all(
            f"{_SELECTS[kind.name]} WHERE t.id {beyond} ? ORDER BY t.id LIMIT ?", (start, limit)
        )
        return [_recorded(row) for row in rows]

    async def set_newest(self, entries: Sequence[tuple[str, int]]) -> None:
        """Note that these entries with a digest, pairs of a target and an id, are the newest ones
        of their targets."""
        if entries:
            await self.db.execute_many(_SET_NEWEST, entries)

    async def end_of_page(self, after_id: int, entries: int) -> int | None:
        """The id of the last of the next `entries` entries with a digest after `after_id`; `None`
        when there are fewer."""
        row = await self.db.fetch_one(
            "SELECT id FROM audit_entries WHERE id > ? AND digest IS NOT NULL"
            " ORDER BY id LIMIT 1 OFFSET ?",
            (after_id, entries - 1),
        )
        return row["id"] if row is not None else None

    async def newest_between(self, after_id: int, last_id: int) -> list[TargetEntry]:
        """The newest entries of their targets after the entry `after_id` up to `last_id`, by id."""
        rows = await self.db.fetch_all(
            "SELECT a.target, a.project_id, a.id, a.version, a.digest FROM audit_entries AS a"
            " WHERE a.id > ? AND a.id <= ? AND a.digest IS NOT NULL"
            f" AND a.id = {newest_id('a.target')} ORDER BY a.id",
            (after_id, last_id),
        )
        return [TargetEntry(row[0], row[1], NewestEntry(row[2], row[3], row[4])) for row in rows]

    async def displaced_between(self, after_id: int, last_id: int) -> list[str]:
        """The targets of the entries with a digest in the same range that are newer than the entry
        that stands for the newest one of their target."""
        rows = await self.db.fetch_all(
            "SELECT a.target FROM audit_entries AS a"
            f" LEFT JOIN audit_entries AS n ON n.id = {newest_id('a.target')}"
            " AND n.target = a.target AND n.digest IS NOT NULL"
            " WHERE a.id > ? AND a.id <= ? AND a.digest IS NOT NULL AND COALESCE(n.id, 0) < a.id"
            " ORDER BY a.id",
            (after_id, last_id),
        )
        return [row[0] for row in rows]

    async def present(self, kind: GuardedKind, found_by: Sequence[tuple[str, ...]]) -> set[str]:
        """The targets of the rows with these values of the columns `kind.found_by`, as they stand
        in targets."""
        found: set[str] = set()
        for start in range(0, len(found_by), _AT_ONCE):
            some = [
                value if name == "key_name" else int(value)
                for values in found_by[start : start + _AT_ONCE]
                for name, value in zip(kind.found_by, values, strict=True)
            ]
            row = f"({', '.join('?' * len(kind.found_by))})"
            count = len(some) // len(kind.found_by)
            rows = await self.db.fetch_all(
                f"SELECT {kind.target} FROM {kind.table} WHERE ({', '.join(kind.found_by)})"
                f" IN (VALUES {', '.join([row] * count)})",
                some,
            )
            found.update(row[0] for row in rows)
        return found

    async def newest(self, target: str) -> NewestEntry | None:
        """The newest entry of the target that has a digest, or `None`."""
        row = await self.db.fetch_one(
            f"SELECT a.id, a.version, a.digest {_NEWEST_OF} n.target = ?",
            (target,),
        )
        return NewestEntry(*row) if row is not None else None

    async def project_of(self, target: str) -> int | None:
        """The project that the newest entry of the target with a digest belongs to, or `None`."""
        row = await self.db.fetch_one(
            f"SELECT a.project_id {_NEWEST_OF} n.target = ?",
            (target,),
        )
        return row[0] if row is not None else None

    async def newest_of(self, targets: Sequence[str]) -> dict[str, NewestEntry]:
        """The same for several targets, by target, without those that have no such entry."""
        found: dict[str, NewestEntry] = {}
        for start in range(0, len(targets), _AT_ONCE):
            some = targets[start : start + _AT_ONCE]
            rows = await self.db.fetch_all(
                "SELECT n.target, a.id, a.version, a.digest"
                f" {_NEWEST_OF} {among('n.target', some)}",
                tuple(some),
            )
            found.update((row[0], NewestEntry(row[1], row[2], row[3])) for row in rows)
        return found


_NEWEST_OF = (
    "FROM guarded_targets AS n JOIN audit_entries AS a ON a.id = n.entry_id"
    " AND a.target = n.target AND a.digest IS NOT NULL WHERE"
)
_SET_NEWEST = (
    "INSERT INTO guarded_targets (target, entry_id) VALUES (?, ?)"
    " ON CONFLICT (target) DO UPDATE SET entry_id = excluded.entry_id"
)


def newest_id(target: str) -> str:
    """The subquery for the id of the newest entry with a digest of `target`, an expression."""
    return f"(SELECT n.entry_id FROM guarded_targets AS n WHERE n.target = {target})"


def _is_newest(entry: str, target: str) -> str:
    """The condition that an entry is the newest one with a digest of `target`, an expression."""
    return f"{entry}.id = {newest_id(target)} AND {entry}.target = {target}"


def _select(kind: GuardedKind) -> str:
    """Reads rows with their newest entries in one statement, and so from one snapshot."""
    # In the joins, the names of a kind's columns would be ambiguous.
    inner = (
        f"SELECT {', '.join(kind.columns)}, {kind.target} AS target,"
        f" {_PROJECT_TARGET if kind.in_project else 'NULL'} AS project_target,"
        f" {'project_id' if kind.in_project else 'NULL'} AS its_project FROM {kind.table}"
    )
    columns = ", ".join(f"t.{name}" for name in kind.columns)
    project = (
        f" LEFT JOIN audit_entries AS p ON {_is_newest('p', 't.project_target')}"
        if kind.in_project
        else " LEFT JOIN audit_entries AS p ON p.id = -1"
    )
    return (
        "SELECT t.target, t.its_project, t.project_target, a.id, a.version, a.digest,"
        f" p.id, p.version, p.digest, {columns} FROM ({inner}) AS t"
        f" LEFT JOIN audit_entries AS a ON {_is_newest('a', 't.target')}{project}"
    )


_PROJECT_TARGET = "'projects/' || CAST(project_id AS TEXT)"
_SELECTS = {kind.name: _select(kind) for kind in GUARDED_KINDS}
_VALUES = {
    kind.name: f"SELECT {', '.join(kind.columns)} FROM {kind.table}" for kind in GUARDED_KINDS
}


def _recorded(row: Row) -> RecordedRow:
    target, project_id, project_target, *rest = row
    entry, project, values = rest[:3], rest[3:6], tuple(rest[6:])
    return RecordedRow(
        values[0],
        target,
        values,
        NewestEntry(*entry) if entry[0] is not None else None,
        project_id,
        project_target,
        NewestEntry(*project) if project[0] is not None else None,
    )
