"""The secrets of projects, as ciphertext: this layer never sees a plaintext value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from backend.errors import SecretExists
from backend.repositories.guarded_rows import (
    SECRETS,
    GuardedRow,
    NewestEntry,
    RecordedRow,
    newest_id,
)
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.paging import Page, Position, Query, fetch_page, json_members
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Row
from database.errors import UniqueViolation
from database.portable_sql import among
from models import ProjectSecret

S = TypeVar("S")

_INSERTED_AT_ONCE = 500
"""The number of rows in one statement, whose parameters are limited."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret's row and the row of the key that its value is encrypted with."""

    secret: ProjectSecret
    key: ProjectKey


class SealedSecret(NamedTuple):
    """A value to store, encrypted for this key and this version."""

    key: str
    version: int
    project_key_id: int
    ciphertext: str

    def __repr__(self) -> str:
        return f"SealedSecret(key={self.key!r}, version={self.version!r})"


class PresentValue(NamedTuple):
    """The stored value of a secret, and the project key that encrypts it."""

    id: int
    """The id of the secret."""
    version: int
    ciphertext: str
    project_key_id: int
    created_at: str
    recorded: RecordedRow
    """The same row with its newest entries in the record."""

    def __repr__(self) -> str:
        return f"PresentValue(version={self.version!r})"


class ProjectSecretsRepository(BaseRepository[ProjectSecret]):
    """The table `project_secrets`."""

    writable = frozenset({"project_id", "key_name", "ciphertext", "project_key_id"})
    defaults = MappingProxyType(
        {
            "version": 1,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(ProjectSecret, "project_secrets", db_manager, clock=clock)

    async def add(
        self, project_id: int, key: str, *, project_key_id: int, ciphertext: str, version: int = 1
    ) -> ProjectSecret:
        """Insert a secret. Raises `SecretExists` when the project has the key."""
        now = self.now()
        columns = self.columns(
            {
                "project_id": project_id,
                "key_name": key,
                "project_key_id": project_key_id,
                "ciphertext": ciphertext,
            }
        )
        columns |= {"version": version, "created_at": now, "updated_at": now}
        try:
            return self.model(await self.insert(columns))
        except UniqueViolation:
            raise SecretExists from None

    async def replace(
        self, id: int, *, version: int, project_key_id: int, ciphertext: str
    ) -> ProjectSecret | None:
        """Replace the value by a new one, encrypted for `version`.

        `None` when the secret does not exist or was not at `version - 1`.
        """
        data = {"ciphertext": ciphertext, "project_key_id": project_key_id}
        return await self.change(id, data, expected=version - 1)

    async def add_all(
        self, project_id: int, secrets: Sequence[SealedSecret]
    ) -> Sequence[GuardedRow]:
        """Insert secrets. Returns their rows in order. Raises `SecretExists` when the project has
        one of the keys."""
        now = self.now()
        rows: list[GuardedRow] = []
        try:
            for start in range(0, len(secrets), _INSERTED_AT_ONCE):
                some = secrets[start : start + _INSERTED_AT_ONCE]
                ids = await self.db.insert(
                    _insertion(len(some)),
                    [value for secret in some for value in (project_id, *secret, now, now)],
                    len(some),
                )
                rows += [
                    _row(id, project_id, secret, now, now)
                    for id, secret in zip(ids, some, strict=True)
                ]
        except UniqueViolation:
            raise SecretExists from None
        return rows

    async def replace_all(
        self, project_id: int, secrets: Sequence[tuple[SealedSecret, PresentValue]]
    ) -> Sequence[GuardedRow]:
        """Replace values by new ones, each one version higher than the present one, which was read
        in the same transaction. Returns the rows in order."""
        now = self.now()
        # Most rows already have this project key. Leaving it out halves the time, because its
        # index is not updated.
        same = [
            (version, text, now, present.id)
            for (_, version, key_id, text), present in secrets
            if key_id == present.project_key_id
        ]
        other = [
            (version, text, now, key_id, present.id)
            for (_, version, key_id, text), present in secrets
            if key_id != present.project_key_id
        ]
        for statement, rows in ((_REPLACE_UNDER_SAME_KEY, same), (_REPLACE, other)):
            if rows:
                await self.db.execute_many(statement, rows)
        return [
            _row(present.id, project_id, secret, present.created_at, now)
            for secret, present in secrets
        ]

    async def get(self, project_id: int, key: str) -> StoredSecret | None:
        """The secret of this key, or `None`."""
        row = await self.db.fetch_one(
            f"{_WITH_KEY} WHERE s.project_id = ? AND s.key_name = ?", (project_id, key)
        )
        return self._stored(row) if row is not None else None

    async def get_recorded(
        self, project_id: int, key: str
    ) -> tuple[StoredSecret, RecordedRow] | None:
        """The secret of this key, and the same row with its newest entries in the record, or
        `None`."""
        project_target = f"projects/{project_id}"
        row = await self.db.fetch_one(
            f"{_PRESENT_WITH_KEY} WHERE s.project_id = ? AND s.key_name = ?",
            (project_target, project_id, key),
        )
        if row is None:
            return None
        *columns, key_project_id, wrapped = row
        present = _present(tuple(columns), project_target)
        secret = self.model(dict(zip(SECRETS.columns, columns, strict=False)))
        project_key = ProjectKey(present.project_key_id, key_project_id, wrapped)
        return StoredSecret(secret, project_key), present.recorded

    async def present_values(
        self, project_id: int, names: Sequence[str]
    ) -> dict[str, PresentValue]:
        """The stored values of the project's secrets with these names, by name."""
        if not names:
            return {}
        project_target = f"projects/{project_id}"
        rows = await self.db.fetch_all(
            f"{_PRESENT} WHERE s.project_id = ? AND {among('s.key_name', names)}",
            (project_target, project_id, *names),
        )
        return {row[3]: _present(tuple(row), project_target) for row in rows}

    async def page(
        self,
        project_id: int,
        make: Callable[[StoredSecret], S],
        *,
        limit: int,
        after: Position | None,
    ) -> Page[S]:
        """The results of `make` for up to `limit` secrets of a project, newest first, after the
        position `after`. It is called row by row, because values may be large."""
        query = Query(_WITH_KEY)
        query.where("s.project_id = ?", project_id)
        query.keyset(("s.id",), after, descending=True, limit=limit)
        return await fetch_page(
            self.db,
            query,
            limit,
            lambda row: make(self._stored(row)),
            ("id",),
            members=_MEMBERS,
        )

    async def each_of(self, project_id: int, make: Callable[[StoredSecret], S]) -> list[S]:
        """The results of `make` for all secrets of a project, newest first. It is called row by
        row, because there may be many large values."""
        made: list[S] = []

        def takes(row: Row) -> bool:
            made.append(make(self._stored(row)))
            return True

        await self.db.fetch_while(
            f"{_WITH_KEY} WHERE s.project_id = ? ORDER BY s.id DESC", (project_id,), takes
        )
        return made

    async def all_of(self, project_id: int) -> list[StoredSecret]:
        """All secrets of a project, newest first."""
        return await self.each_of(project_id, lambda stored: stored)

    async def remove(self, project_id: int, key: str) -> bool:
        """Delete the secret of this key. Returns whether it existed."""
        return await self.remove_all(project_id, [key])

    async def remove_all(self, project_id: int, keys: Sequence[str]) -> bool:
        """Delete the secrets of these keys. Returns whether any existed."""
        return (
            await self.db.execute(
                f"DELETE FROM project_secrets WHERE project_id = ? AND {among('key_name', keys)}",
                (project_id, *keys),
            )
            > 0
        )

    def _stored(self, row: Row) -> StoredSecret:
        return StoredSecret(
            secret=self.model(row),
            key=ProjectKey(row["project_key_id"], row["key_project_id"], row["wrapped"]),
        )


_KEY_COLUMNS = (
    # Without the row of its key, which only another program can remove, a secret is unreadable.
    "COALESCE(k.project_id, s.project_id) AS key_project_id, COALESCE(k.wrapped, '') AS wrapped"
)
_SECRETS_AND_KEYS = "project_secrets AS s LEFT JOIN project_keys AS k ON k.id = s.project_key_id"
_WITH_KEY = f"SELECT s.*, {_KEY_COLUMNS} FROM {_SECRETS_AND_KEYS}"
_TARGET = "'projects/' || CAST(s.project_id AS TEXT) || '/secrets/' || s.key_name"
_PRESENT_COLUMNS = (
    f"{', '.join(f's.{name}' for name in SECRETS.columns)},"
    " e.id, e.version, e.digest, p.id, p.version, p.digest"
)
_ENTRIES = (
    f" LEFT JOIN audit_entries AS e ON e.id = {newest_id(_TARGET)}"
    # The project's target is a parameter, so that it is looked up once for all rows.
    f" LEFT JOIN audit_entries AS p ON p.id = {newest_id('?')}"
)
_PRESENT = f"SELECT {_PRESENT_COLUMNS} FROM project_secrets AS s{_ENTRIES}"
_PRESENT_WITH_KEY = f"SELECT {_PRESENT_COLUMNS}, {_KEY_COLUMNS} FROM {_SECRETS_AND_KEYS}{_ENTRIES}"


def _present(row: tuple[Any, ...], project_target: str) -> PresentValue:
    values, entry, project = row[:8], row[8:11], row[11:]
    id, project_id, key_id, name, text, created_at, _, version = values
    recorded = RecordedRow(
        id,
        f"{project_target}/secrets/{name}",
        values,
        NewestEntry._make(entry) if entry[0] is not None else None,
        project_id,
        project_target,
        NewestEntry._make(project) if project[0] is not None else None,
    )
    return PresentValue(id, version, text, key_id, created_at, recorded)


@lru_cache(maxsize=_INSERTED_AT_ONCE)
def _insertion(rows: int) -> str:
    return (
        "INSERT INTO project_secrets (project_id, key_name, version, project_key_id,"
        f" ciphertext, created_at, updated_at) VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?)'] * rows)}"
    )


def _row(
    id: int, project_id: int, secret: SealedSecret, created_at: str, updated_at: str
) -> GuardedRow:
    # In the order of the guarded columns, which a test compares.
    key, version, key_id, text = secret
    values = (id, project_id, key_id, key, text, created_at, updated_at, version)
    return GuardedRow(SECRETS, id, values)


_REPLACE_UNDER_SAME_KEY = (
    "UPDATE project_secrets SET version = ?, ciphertext = ?, updated_at = ? WHERE id = ?"
)
_REPLACE = (
    "UPDATE project_secrets SET version = ?, ciphertext = ?, updated_at = ?, project_key_id = ?"
    " WHERE id = ?"
)


_MEMBERS = json_members(ProjectSecret)
