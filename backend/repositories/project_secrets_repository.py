"""The secrets of projects, as ciphertext: this layer never sees a plaintext value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from backend.errors import SecretExists
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.guarded_rows import GuardedRow, NewestEntry, RecordedRow, newest_id
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.paging import Page, Position, Query, fetch_page, json_members
from database.base import BaseRepository, Clock, counted_change, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Row, Value
from database.errors import UniqueViolation
from database.portable_sql import among, with_ids
from models import ProjectSecret

S = TypeVar("S")

_INSERTED_AT_ONCE = 500
"""The number of rows in one statement, whose parameters are limited."""
_REPLACED_AT_ONCE = 16
"""The same for a statement that looks for each row's value among those of all rows."""


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
    actor: str | None = None
    """Who makes this version."""
    redact: int | None = None
    """0 if the value is not redacted, otherwise null."""

    def __repr__(self) -> str:
        return f"SealedSecret(key={self.key!r}, version={self.version!r})"


class SecretRow(NamedTuple):
    """A secret's row: the columns that a digest covers, in their order."""

    id: int
    project_id: int
    project_key_id: int
    key_name: str
    ciphertext: str
    created_at: str
    updated_at: str
    version: int
    actor: str | None
    redact: int | None = None
    """0 if its value is not redacted, otherwise null."""

    def __repr__(self) -> str:
        return f"SecretRow(id={self.id!r}, version={self.version!r})"


class SealedRow(NamedTuple):
    """What opens the value of a secret, and whether it is redacted."""

    id: int
    key_name: str
    version: int
    ciphertext: str
    redact: int | None
    project_key_id: int
    key_project_id: int
    wrapped: str

    def __repr__(self) -> str:
        return f"SealedRow(id={self.id!r}, version={self.version!r})"


class ProjectSecretsRepository(BaseRepository[ProjectSecret]):
    """The table `project_secrets`."""

    writable = frozenset({"project_id", "key_name", "ciphertext", "project_key_id"})
    defaults = MappingProxyType(
        {
            "version": 1,
            "actor": None,
            "redact": None,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(ProjectSecret, "project_secrets", db_manager, clock=clock)

    async def add(
        self,
        project_id: int,
        key: str,
        *,
        project_key_id: int,
        ciphertext: str,
        version: int = 1,
        actor: str | None = None,
        redact: int | None = None,
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
        columns |= {"version": version, "created_at": now, "updated_at": now, "actor": actor}
        columns["redact"] = redact
        try:
            return self.model(await self.insert(columns))
        except UniqueViolation:
            raise SecretExists from None

    async def replace(
        self,
        id: int,
        *,
        version: int,
        project_key_id: int,
        ciphertext: str,
        actor: str | None = None,
        redact: int | None = None,
    ) -> ProjectSecret | None:
        """Replace the value by a new one, encrypted for `version`, and set whether it is redacted.

        `None` when the secret does not exist or was not at `version - 1`.
        """
        data = {"ciphertext": ciphertext, "project_key_id": project_key_id}
        return await self.change(
            id, data, expected=version - 1, computed={"actor": actor, "redact": redact}
        )

    async def add_all(
        self, project_id: int, secrets: Sequence[SealedSecret]
    ) -> Sequence[GuardedRow]:
        """Insert secrets. Returns their rows in order. Raises `SecretExists` when the project has
        one of the keys."""
        return await self.add_each([(project_id, secret) for secret in secrets])

    async def add_each(self, secrets: Sequence[tuple[int, SealedSecret]]) -> Sequence[GuardedRow]:
        """The same for several projects, each with its id."""
        now = self.now()
        rows: list[GuardedRow] = []
        try:
            for start in range(0, len(secrets), _INSERTED_AT_ONCE):
                some = secrets[start : start + _INSERTED_AT_ONCE]
                ids = await self.db.insert(
                    _insertion(len(some)),
                    [value for id, secret in some for value in (id, *secret, now, now)],
                    len(some),
                )
                rows += [
                    _row(id, project_id, secret, now, now)
                    for id, (project_id, secret) in zip(ids, some, strict=True)
                ]
        except UniqueViolation:
            raise SecretExists from None
        return rows

    async def replace_all(
        self, secrets: Sequence[tuple[SecretRow, int, str]], actor: str | None = None
    ) -> Sequence[GuardedRow]:
        """Replace values by new ones, each one version higher. Each is given as the present row,
        which was read in the same transaction, the new ciphertext and the id of its project key.
        `actor` makes them. Returns the rows in order."""
        now = self.now()
        rows: list[GuardedRow] = []
        # Leaving out a project key that stays the same halves the time, because its index is not
        # updated.
        same: list[tuple[int, str]] = []
        moved: dict[int, list[tuple[int, str]]] = {}
        for row, key_id, text in secrets:
            id, project_id, present_key, name, _, created_at, _, version, _, redact = row
            new = (id, project_id, key_id, name, text, created_at, now, version + 1, actor, redact)
            # Not by calling the class, which takes twice as long.
            rows.append(tuple.__new__(GuardedRow, (SECRETS, id, new)))
            group = same if key_id == present_key else moved.setdefault(key_id, [])
            group.append((id, text))
        await self._replace(same, now, actor)
        for key_id, texts in moved.items():
            await self._replace(texts, now, actor, key_id)
        return rows

    async def _replace(
        self, texts: Sequence[tuple[int, str]], now: str, actor: str | None, *project_key_id: int
    ) -> None:
        """Set these ciphertexts, by id, and their project key if one is given."""
        for start in range(0, len(texts), _REPLACED_AT_ONCE):
            some = texts[start : start + _REPLACED_AT_ONCE]
            condition, ids = with_ids([id for id, _ in some])
            params: list[Value] = [now, actor, *project_key_id]
            for one in some:
                params += one
            params += ids
            await self.db.execute(_replacement(len(some), condition, bool(project_key_id)), params)

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
            f"{_RECORDED_WITH_KEY} WHERE s.project_id = ? AND s.key_name = ?",
            (project_target, project_id, key),
        )
        if row is None:
            return None
        values = tuple(row)
        count = len(SECRETS.columns)
        columns, entry, project = values[:count], values[count:][:3], values[count:][3:6]
        recorded = RecordedRow(
            columns[0],
            f"{project_target}/secrets/{key}",
            columns,
            NewestEntry._make(entry) if entry[0] is not None else None,
            project_id,
            project_target,
            NewestEntry._make(project) if project[0] is not None else None,
        )
        secret = self.model(dict(zip(SECRETS.columns, columns, strict=True)))
        return StoredSecret(secret, ProjectKey(columns[2], *values[count:][6:])), recorded

    async def rows_of(self, project_id: int, names: Sequence[str]) -> dict[str, SecretRow]:
        """The rows of the project's secrets with these names, by name."""
        if not names:
            return {}
        rows = await self.db.fetch_all(
            f"SELECT {_COLUMNS} FROM project_secrets AS s"
            f" WHERE s.project_id = ? AND {among('s.key_name', names)}",
            (project_id, *names),
        )
        return {row[3]: SecretRow._make(row) for row in rows}

    async def sealed_size(self, project_id: int) -> int:
        """The length of all ciphertexts of a project, in characters."""
        row = await self.db.fetch_one(
            "SELECT COALESCE(SUM(LENGTH(ciphertext)), 0) FROM project_secrets WHERE project_id = ?",
            (project_id,),
        )
        return int(row[0]) if row is not None else 0

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

    async def sealed_of(self, project_id: int, most: int, most_bytes: int) -> list[SealedRow]:
        """What opens the values of a project's secrets, newest first: of at most `most`, with about
        `most_bytes` of ciphertext."""
        rows: list[SealedRow] = []
        left = most_bytes

        def takes(row: Row) -> bool:
            nonlocal left
            rows.append(SealedRow._make(row))
            left -= len(rows[-1].ciphertext)
            return left > 0 and len(rows) < most

        await self.db.fetch_while(
            f"SELECT s.id, s.key_name, s.version, s.ciphertext, s.redact, s.project_key_id,"
            f" {_KEY_COLUMNS} FROM {_SECRETS_AND_KEYS} WHERE s.project_id = ? ORDER BY s.id DESC",
            (project_id,),
            takes,
        )
        return rows

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
_COLUMNS = ", ".join(f"s.{name}" for name in SECRETS.columns)
_RECORDED_WITH_KEY = (
    f"SELECT {_COLUMNS}, e.id, e.version, e.digest, p.id, p.version, p.digest, {_KEY_COLUMNS}"
    f" FROM {_SECRETS_AND_KEYS} LEFT JOIN audit_entries AS e ON e.id = {newest_id(_TARGET)}"
    # The project's target is a parameter, so that it is looked up once for all rows.
    f" LEFT JOIN audit_entries AS p ON p.id = {newest_id('?')}"
)


@lru_cache(maxsize=_INSERTED_AT_ONCE)
def _insertion(rows: int) -> str:
    return (
        "INSERT INTO project_secrets (project_id, key_name, version, project_key_id,"
        " ciphertext, actor, redact, created_at, updated_at)"
        f" VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?)'] * rows)}"
    )


def _row(
    id: int, project_id: int, secret: SealedSecret, created_at: str, updated_at: str
) -> GuardedRow:
    # In the order of the guarded columns, which a test compares.
    key, version, key_id, text, actor, redact = secret
    values = (id, project_id, key_id, key, text, created_at, updated_at, version, actor, redact)
    return GuardedRow(SECRETS, id, values)


@lru_cache(maxsize=1024)
def _replacement(rows: int, condition: str, with_key: bool) -> str:
    # One statement takes half the time of one for each row.
    return counted_change(
        "project_secrets",
        f"updated_at = ?, actor = ?,{' project_key_id = ?,' if with_key else ''}"
        f" ciphertext = CASE id{' WHEN ? THEN ?' * rows} END",
        condition,
    )


_MEMBERS = json_members(ProjectSecret)
