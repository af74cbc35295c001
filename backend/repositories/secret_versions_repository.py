"""Earlier versions of secrets, and those of deleted ones, as ciphertext."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.paging import Merged, Page, PageReader, Position, Query
from backend.repositories.version_rows import SECRET_VERSIONS, VersionRow
from database.base import TableAccess
from database.engine import JsonKind, Row, Value
from database.portable_sql import among, with_ids

V = TypeVar("V")

_KEPT_AT_ONCE = 16
"""The number of rows in one statement that looks for each row's MAC among those of all rows."""


class KeptSecret(NamedTuple):
    """A version of a secret."""

    id: int
    """Its row's; that of the secret for the present version."""
    mac: str
    """Empty for the present version, which the record proves."""
    secret_id: int
    project_id: int
    project_key_id: int | None
    key_name: str
    ciphertext: str | None
    """`None` when it was destroyed."""
    created_at: str
    updated_at: str
    """When this version was made."""
    version: int
    actor: str | None
    """Who made it; `None` for a version from before this was stored."""
    redact: int | None
    """0 if its value is not redacted, otherwise null."""
    deleted_at: str | None
    """When the secret was deleted, for its last version, as long as it can be restored."""
    destroyed_at: str | None

    @property
    def covered(self) -> tuple[Value, ...]:
        """The values that its MAC covers."""
        return self[2:]

    @property
    def row(self) -> VersionRow:
        """The same as a row of any kind."""
        target = f"projects/{self.project_id}/secrets/{self.key_name}/versions/{self.version}"
        return VersionRow(self.id, target, self.mac, self.covered)

    def __repr__(self) -> str:
        return f"KeptSecret(id={self.id!r}, number={self.version!r})"


class StoredVersion(NamedTuple):
    """A version, and the row of the key that its value is encrypted with."""

    version: KeptSecret
    key: ProjectKey | None
    """`None` when the version was destroyed."""


class SecretVersionsRepository(TableAccess):
    """The table `secret_versions`."""

    async def keep(self, secrets: Sequence[tuple[int, str]], deleted_at: str | None = None) -> None:
        """Copy the present versions of secrets, which are about to be replaced or deleted: each is
        given as its id and the MAC of the new row."""
        for start in range(0, len(secrets), _KEPT_AT_ONCE):
            some = secrets[start : start + _KEPT_AT_ONCE]
            condition, ids = with_ids([id for id, _ in some])
            params: list[Value] = [deleted_at]
            for one in some:
                params += one
            params += ids
            await self.db.execute(_copying(len(some), condition), params)

    async def add(self, version: KeptSecret) -> None:
        """Insert a version; its id is not used."""
        await self.db.execute(_INSERT, version[1:])

    async def get(self, project_id: int, key: str, version: int) -> StoredVersion | None:
        """This earlier version of the project's secret, or `None`."""
        row = await self.db.fetch_one(
            f"{_WITH_KEY} WHERE v.version = ? AND v.project_id = ? AND v.key_name = ?",
            (version, project_id, key),
        )
        return _stored(row) if row is not None else None

    async def newest(self, project_id: int, key: str) -> KeptSecret | None:
        """The newest version that is not the present one, or `None`."""
        row = await self.db.fetch_one(
            f"{_VERSIONS} WHERE v.project_id = ? AND v.key_name = ?"
            " ORDER BY v.version DESC LIMIT 1",
            (project_id, key),
        )
        return KeptSecret._make(row) if row is not None else None

    async def with_values(self, project_id: int, key: str) -> list[KeptSecret]:
        """The versions of this key that were not destroyed, oldest first."""
        rows = await self.db.fetch_all(
            f"{_VERSIONS} WHERE v.project_id = ? AND v.key_name = ? AND v.ciphertext IS NOT NULL"
            " ORDER BY v.version",
            (project_id, key),
        )
        return [KeptSecret._make(row) for row in rows]

    async def page(
        self,
        project_id: int,
        key: str,
        make: Callable[[StoredVersion], V],
        *,
        oldest: int,
        limit: int,
        after: Position | None,
    ) -> Page[V]:
        """The results of `make` for up to `limit` versions of this key from `oldest` on, the
        present one included, newest first, after the position `after`. It is called row by row,
        because values may be large."""
        reader = PageReader(limit, lambda row: make(_stored(row)), ("version",), members=_SHOWN)
        queries = []
        for select in (_PRESENT_WITH_KEY, _WITH_KEY):
            query = Query(select)
            query.where(
                "v.project_id = ? AND v.key_name = ? AND v.version >= ?", project_id, key, oldest
            )
            query.keyset(("version",), after, descending=True, limit=limit)
            queries.append(query)
        await reader.read(self.db, Merged(queries, ("version",), descending=True, limit=limit))
        return reader.page()

    async def destroy(self, id: int, *, deleted_at: str | None, now: str, mac: str) -> None:
        """Remove a version's value, and set its times and its MAC."""
        await self.db.execute(
            "UPDATE secret_versions SET ciphertext = NULL, project_key_id = NULL, deleted_at = ?,"
            " destroyed_at = ?, mac = ? WHERE id = ?",
            (deleted_at, now, mac, id),
        )

    async def set_deleted_at(self, id: int, deleted_at: str | None, mac: str) -> None:
        """Set when the secret was deleted, and the MAC."""
        await self.db.execute(
            "UPDATE secret_versions SET deleted_at = ?, mac = ? WHERE id = ?",
            (deleted_at, mac, id),
        )

    async def take_back(self, id: int) -> None:
        """Make a version the present one of its secret, which has none."""
        await self.db.execute(
            f"INSERT INTO project_secrets ({', '.join(SECRETS.columns)})"
            f" SELECT secret_id, {', '.join(SECRETS.columns[1:])} FROM secret_versions"
            " WHERE id = ?",
            (id,),
        )
        await self.remove([id])

    async def remove(self, ids: Sequence[int]) -> int:
        """Remove versions. Returns their number."""
        return await self.db.execute(
            f"DELETE FROM secret_versions WHERE {among('id', ids)}", tuple(ids)
        )

    async def under(
        self, project_id: int, project_key_id: int, after_id: int, limit: int
    ) -> list[KeptSecret]:
        """Up to `limit` versions of the project whose values are under this key, after `after_id`,
        by id."""
        rows = await self.db.fetch_all(
            f"{_VERSIONS} WHERE v.project_id = ? AND v.project_key_id = ? AND v.id > ?"
            " ORDER BY v.id LIMIT ?",
            (project_id, project_key_id, after_id, limit),
        )
        return [KeptSecret._make(row) for row in rows]

    async def move(self, id: int, project_key_id: int, ciphertext: str, mac: str) -> None:
        """Store the same value sealed under another key."""
        await self.db.execute(
            "UPDATE secret_versions SET ciphertext = ?, project_key_id = ?, mac = ? WHERE id = ?",
            (ciphertext, project_key_id, mac, id),
        )

    async def beyond(
        self, kept: int, after_id: int, limit: int
    ) -> tuple[list[int], tuple[int] | None]:
        """Look at up to `limit` rows after `after_id`, by id: a key that was damaged in the file
        has no place in an order of keys. Returns the ids of those that are not among the newest
        `kept` of their secret, counting the present one; and the last row's id, `None` at the
        end."""
        rows = await self.db.fetch_all(
            f"SELECT id, {_IS_BEYOND} FROM secret_versions AS v WHERE id > ? ORDER BY id LIMIT ?",
            (kept, after_id, limit),
        )
        return [row[0] for row in rows if row[1]], (rows[-1][0],) if rows else None

    async def remove_beyond(self, ids: Sequence[int], kept: int) -> int:
        """Remove those of these versions that `beyond` would still return. Returns their
        number."""
        return await self.db.execute(
            f"DELETE FROM secret_versions AS v WHERE {among('id', ids)} AND {_IS_BEYOND}",
            (*ids, kept),
        )

    async def deleted_before(
        self, time: str, after_id: int, limit: int
    ) -> list[tuple[int, int, str]]:
        """The last versions of up to `limit` secrets that were deleted before `time` and are still
        deleted, after `after_id`, by id: the row's id, the project and the key."""
        rows = await self.db.fetch_all(
            "SELECT id, project_id, key_name FROM secret_versions AS v"
            " WHERE deleted_at IS NOT NULL AND deleted_at < ? AND id > ?"
            " AND NOT EXISTS (SELECT 1 FROM project_secrets AS s"
            " WHERE s.project_id = v.project_id AND s.key_name = v.key_name)"
            " AND NOT EXISTS (SELECT 1 FROM secret_versions AS n WHERE n.project_id = v.project_id"
            " AND n.key_name = v.key_name AND n.version > v.version)"
            " ORDER BY id LIMIT ?",
            (time, after_id, limit),
        )
        return [(row[0], row[1], row[2]) for row in rows]


def present_version(values: Sequence[Value]) -> KeptSecret:
    """A secret's row, with the values of `SECRETS.columns`, as its present version."""
    return KeptSecret._make((values[0], "", *values, None, None))


_FIELDS = (*SECRETS.columns[1:], "deleted_at", "destroyed_at")
_OF_VERSION = f"v.id, v.mac, v.secret_id, {', '.join(f'v.{name}' for name in _FIELDS)}"
_VERSIONS = f"SELECT {_OF_VERSION} FROM secret_versions AS v"
_KEY = (
    # Without the row of its key, which only another program can remove, a version is unreadable.
    "COALESCE(k.project_id, v.project_id) AS key_project_id, COALESCE(k.wrapped, '') AS wrapped"
)
_WITH_KEY = (
    f"SELECT {_OF_VERSION}, {_KEY} FROM secret_versions AS v"
    " LEFT JOIN project_keys AS k ON k.id = v.project_key_id"
)
_PRESENT_WITH_KEY = (
    "SELECT v.id, '' AS mac, v.id AS secret_id,"
    f" {', '.join(f'v.{name}' for name in SECRETS.columns[1:])},"
    f" CAST(NULL AS TEXT) AS deleted_at, CAST(NULL AS TEXT) AS destroyed_at, {_KEY}"
    " FROM project_secrets AS v LEFT JOIN project_keys AS k ON k.id = v.project_key_id"
)
_INSTEAD = (
    # Only another program can have inserted a row of the present version.
    " ON CONFLICT (project_id, key_name, version) DO UPDATE SET "
    + ", ".join(
        f"{name} = excluded.{name}"
        for name in ("mac", "secret_id", *_FIELDS)
        if name not in ("project_id", "key_name", "version")
    )
)
_COLUMNS = ("mac", *SECRET_VERSIONS.columns)
_INSERT = (
    f"INSERT INTO secret_versions ({', '.join(_COLUMNS)})"
    f" VALUES ({', '.join('?' * len(_COLUMNS))}){_INSTEAD}"
)
_SHOWN: Mapping[str, JsonKind] = {
    "version": "plain",
    "updated_at": "plain",
    "actor": "plain",
    "deleted_at": "plain",
    "destroyed_at": "plain",
}
_IS_BEYOND = (
    # The present version, if there is one, follows the newest one here.
    "v.version <= (SELECT max(n.version) FROM secret_versions AS n"
    " WHERE n.project_id = v.project_id AND n.key_name = v.key_name)"
    " + CASE WHEN EXISTS (SELECT 1 FROM project_secrets AS s"
    " WHERE s.project_id = v.project_id AND s.key_name = v.key_name) THEN 1 ELSE 0 END - ?"
)


def _stored(row: Row) -> StoredVersion:
    *columns, key_project_id, wrapped = row
    version = KeptSecret._make(columns)
    if version.project_key_id is None:
        return StoredVersion(version, None)
    return StoredVersion(version, ProjectKey(version.project_key_id, key_project_id, wrapped))


@lru_cache(maxsize=1024)
def _copying(rows: int, condition: str) -> str:
    return (
        f"INSERT INTO secret_versions (secret_id, {', '.join(_FIELDS)}, mac)"
        f" SELECT {', '.join(SECRETS.columns)}, CAST(? AS TEXT), NULL,"
        f" CASE id{' WHEN ? THEN ?' * rows} END FROM project_secrets WHERE {condition}{_INSTEAD}"
    )
