"""All values that are encrypted under project keys, in several tables."""

from dataclasses import dataclass, field

from backend.repositories.guarded_kinds import SECRETS, WEBHOOKS, GuardedKind
from database.base import TableAccess
from database.engine import Value


@dataclass(frozen=True, slots=True)
class SealedKind:
    """The columns of one kind of sealed value, and of the context that it is bound to."""

    purpose: str
    table: str
    ciphertext: str
    """The column of the sealed text."""
    name: str
    """The SQL expression for the name that it is bound to."""
    version: str
    """The column of the version that it is bound to."""
    guarded: GuardedKind | None
    """The kind of the rows; `None` if each has its own MAC."""
    in_versions: bool = False
    """Whether the rows are versions, which are found by their project, name and version: no index
    has their keys, because each change of a secret would have to change it."""

    def is_under(self, row: str, key: str) -> str:
        """The condition that a row of the table, or of its alias, `row` is under the project key
        in `key`."""
        condition = f"{row}.project_key_id = {key}.id"
        return (
            f"{row}.project_id = {key}.project_id AND {condition}"
            if self.in_versions
            else condition
        )


SEALED_KINDS = (
    SealedKind("secret", "project_secrets", "ciphertext", "key_name", "version", SECRETS),
    SealedKind(
        "secret", "secret_versions", "ciphertext", "key_name", "version", None, in_versions=True
    ),
    SealedKind(
        "webhook",
        "webhooks",
        "secret_ciphertext",
        "CAST(id AS TEXT)",
        "secret_version",
        WEBHOOKS,
    ),
)
"""Every table that refers to `project_keys`."""


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A sealed value and what it is bound to."""

    id: int
    project_id: int
    name: str
    version: int
    """The version that it is bound to."""
    row_version: int
    ciphertext: str = field(repr=False)


class SealedRepository(TableAccess):
    """The columns that hold sealed values, in the tables of `SEALED_KINDS`."""

    async def under(
        self,
        kind: SealedKind,
        key: tuple[int, int],
        after_id: int,
        limit: int,
    ) -> list[SealedValue]:
        """Up to `limit` values of a kind under this key, given as its id and its project's, after
        `after_id`, by id: a name that was damaged in the file has no place in an order of names."""
        id, project_id = key
        query = "project_key_id = ?"
        params: list[Value] = [id]
        if kind.in_versions:
            query += " AND project_id = ?"
            params.append(project_id)
        rows = await self.db.fetch_all(
            f"SELECT id, project_id, {kind.name} AS name, {kind.version} AS version,"
            f" version AS row_version, {kind.ciphertext} AS ciphertext FROM {kind.table}"
            f" WHERE {query} AND id > ? ORDER BY id LIMIT ?",
            (*params, after_id, limit),
        )
        return [SealedValue(*tuple(row)) for row in rows]

    async def move(
        self, kind: SealedKind, value: SealedValue, project_key_id: int, ciphertext: str
    ) -> None:
        """Store the same value sealed under another key. The rest of its row stays unchanged."""
        await self.db.execute(
            f"UPDATE {kind.table} SET {kind.ciphertext} = ?, project_key_id = ?"
            f" WHERE id = ? AND {kind.version} = ?",
            (ciphertext, project_key_id, value.id, value.version),
        )
