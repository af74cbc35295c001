"""The tables of earlier versions: what their MACs cover, and how their rows are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.repositories.guarded_kinds import CONFIGURATIONS, SECRETS, GuardedKind
from database.base import TableAccess
from database.engine import Row, Value


# Compared by identity, as kinds of guarded rows are.
@dataclass(frozen=True, slots=True, eq=False)
class VersionKind:
    """A table of earlier versions of guarded rows."""

    table: str
    guarded: GuardedKind
    """The kind of the rows that its versions were."""
    target: str
    """The SQL expression for the target of a version."""
    columns: tuple[str, ...]
    """The columns that a MAC covers, in their order: all but `id` and `mac`. Those of the row that
    was replaced stand first, in the order of its digest."""


def signed_version(kind: VersionKind, values: Sequence[Value]) -> Sequence[Value]:
    """The values of a version that its MAC covers: those of `kind.columns`, without `redact` while
    it is null, so that versions from before this column fit theirs."""
    if kind is SECRET_VERSIONS and values[_REDACT] is None:
        return (*values[:_REDACT], *values[_REDACT + 1 :])
    return values


class VersionRow(NamedTuple):
    """A row of such a table."""

    id: int
    target: str
    mac: str
    values: tuple[Value, ...]
    """Those of `VersionKind.columns`."""

    @property
    def project_id(self) -> int:
        """Its project."""
        found = self.values[1]
        return found if isinstance(found, int) else 0

    def __repr__(self) -> str:
        return f"VersionRow(id={self.id!r}, target={self.target!r})"


CONFIGURATION_VERSIONS = VersionKind(
    "configuration_versions",
    CONFIGURATIONS,
    f"{CONFIGURATIONS.target} || '/versions/' || CAST(version AS TEXT)",
    ("configuration_id", *CONFIGURATIONS.columns[1:]),
)
SECRET_VERSIONS = VersionKind(
    "secret_versions",
    SECRETS,
    f"{SECRETS.target} || '/versions/' || CAST(version AS TEXT)",
    ("secret_id", *SECRETS.columns[1:], "deleted_at", "destroyed_at"),
)
_REDACT = SECRET_VERSIONS.columns.index("redact")
VERSION_KINDS = (CONFIGURATION_VERSIONS, SECRET_VERSIONS)
"""Every table of earlier versions."""


_SIZES = {
    "configuration_versions": "COALESCE(length(planning_statement), 0)"
    " + COALESCE(length(repository_rules), 0) + COALESCE(length(setup_commands), 0)",
    "secret_versions": "COALESCE(length(ciphertext), 0)",
}
SAMPLE = 500
"""The number of rows from which the size of all is estimated."""


def selected(kind: VersionKind) -> str:
    """A SELECT of `VersionRow`s, without its conditions."""
    return f"SELECT id, {kind.target} AS target, mac, {', '.join(kind.columns)} FROM {kind.table}"


def version_row(row: Row) -> VersionRow:
    """The row that `selected` has read."""
    id, target, mac, *values = row
    return VersionRow(id, target, mac, tuple(values))


class VersionRowsRepository(TableAccess):
    """The rows of all tables of earlier versions."""

    async def after(self, kind: VersionKind, after_id: int | None, limit: int) -> list[VersionRow]:
        """Up to `limit` rows with greater ids than `after_id`, by id; with `None`, from the least
        id on."""
        condition, params = ("id > ?", (after_id,)) if after_id is not None else ("1 = 1", ())
        rows = await self.db.fetch_all(
            f"{selected(kind)} WHERE {condition} ORDER BY id LIMIT ?", (*params, limit)
        )
        return [version_row(row) for row in rows]

    async def size(self, kind: VersionKind) -> float:
        """The average number of characters in the texts of the oldest rows."""
        row = await self.db.fetch_one(
            f"SELECT avg(size) AS size FROM (SELECT {_SIZES[kind.table]} AS size FROM {kind.table}"
            " ORDER BY id LIMIT ?) AS sample",
            (SAMPLE,),
        )
        return (row["size"] if row is not None else None) or 0.0
