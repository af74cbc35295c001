"""The stored records of encryption: the installation, canaries of master keys, and project keys.

All of them are wrapped or public. No usable key is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backend.repositories.sealed_repository import SEALED_KINDS
from database.base import TableAccess
from database.connection_manager import DatabaseManager
from database.engine import Row
from database.portable_sql import among


@dataclass(frozen=True, slots=True)
class Installation:
    """The identity of this database."""

    id: str
    wrapped_key: str = field(repr=False)
    """The root key of token MACs, cursors and the audit chain, wrapped under a master key."""


class ProjectKey(NamedTuple):
    """A project's key, wrapped under a master key."""

    id: int
    project_id: int
    wrapped: str

    def __repr__(self) -> str:
        return f"ProjectKey(id={self.id!r}, project_id={self.project_id!r})"


@dataclass(frozen=True, slots=True)
class MasterKeyUsage:
    """What one master key protects."""

    key_id: str
    canary: str = field(repr=False)
    """Text that shows whether a configured key is this one."""
    installation: bool
    """Whether the installation's own key is wrapped under it."""
    project_keys: int
    secrets: int
    """Values under these project keys, of every kind."""
    answer_keys: int


class KeysRepository(TableAccess):
    """The tables `installation`, `master_keys` and `project_keys`."""

    async def installation(self) -> Installation | None:
        """The installation, or `None` before `install`."""
        row = await self.db.fetch_one("SELECT * FROM installation WHERE id = 1")
        if row is None:
            return None
        return Installation(row["installation_id"], row["wrapped_key"])

    async def install(self, installation: Installation, master_key_id: str) -> None:
        """Store the database's identity. Raises `UniqueViolation` when it already has one."""
        await self.db.execute(
            "INSERT INTO installation"
            " (id, installation_id, master_key_id, wrapped_key, created_at)"
            " VALUES (1, ?, ?, ?, ?)",
            (installation.id, master_key_id, installation.wrapped_key, self.now()),
        )

    async def begin_at(self, epoch: int) -> None:
        """Give out ids in this epoch."""
        await self.db.execute("UPDATE installation SET epoch = ? WHERE id = 1", (epoch,))

    async def canaries(self) -> dict[str, str]:
        """The canary of every master key that was used and is not retired, by key id."""
        rows = await self.db.fetch_all("SELECT key_id, canary FROM master_keys ORDER BY key_id")
        return {row["key_id"]: row["canary"] for row in rows}

    async def canaries_in_use(self) -> dict[str, str]:
        """The canaries of the master keys that wrap a key, by key id."""
        rows = await self.db.fetch_all(
            "SELECT key_id, canary FROM master_keys AS m"
            " WHERE EXISTS (SELECT 1 FROM project_keys AS k WHERE k.master_key_id = m.key_id)"
            " OR EXISTS (SELECT 1 FROM answer_keys AS k WHERE k.master_key_id = m.key_id)"
            " OR EXISTS (SELECT 1 FROM installation AS i WHERE i.master_key_id = m.key_id)"
            " ORDER BY key_id"
        )
        return {row["key_id"]: row["canary"] for row in rows}

    async def add_canary(self, key_id: str, canary: str) -> None:
        """Store a master key's canary. Raises `UniqueViolation` when it already has one."""
        await self.db.execute(
            "INSERT INTO master_keys (key_id, canary, created_at) VALUES (?, ?, ?)",
            (key_id, canary, self.now()),
        )

    async def usage(self) -> list[MasterKeyUsage]:
        """The usage of every master key that was used and is not retired, by id."""
        rows = await self.db.fetch_all(
            "SELECT m.key_id, m.canary,"
            " (SELECT count(*) FROM installation AS i WHERE i.master_key_id = m.key_id)"
            " AS installations,"
            " (SELECT count(*) FROM project_keys AS k WHERE k.master_key_id = m.key_id)"
            " AS project_keys,"
            f" {_SEALED_VALUES} AS secrets,"
            " (SELECT count(*) FROM answer_keys AS k WHERE k.master_key_id = m.key_id)"
            " AS answer_keys"
            " FROM master_keys AS m ORDER BY m.key_id"
        )
        return [
            MasterKeyUsage(
                key_id=row["key_id"],
                canary=row["canary"],
                installation=row["installations"] > 0,
                project_keys=row["project_keys"],
                secrets=row["secrets"],
                answer_keys=row["answer_keys"],
            )
            for row in rows
        ]

    async def project_keys_after(self, id: int, limit: int) -> list[ProjectKey]:
        """Up to `limit` project keys after `id`, retired ones included, by id."""
        rows = await self.db.fetch_all(
            "SELECT id, project_id, wrapped FROM project_keys WHERE id > ? ORDER BY id LIMIT ?",
            (id, limit),
        )
        return [_project_key(row) for row in rows]

    async def current_project_key(self, project_id: int) -> ProjectKey | None:
        """The key that encrypts new values of the project, or `None` before the first one."""
        row = await self.db.fetch_one(
            "SELECT id, project_id, wrapped FROM project_keys"
            " WHERE project_id = ? AND retired_at IS NULL",
            (project_id,),
        )
        return _project_key(row) if row is not None else None

    async def of_live_projects(self, project_ids: Sequence[int]) -> dict[int, ProjectKey | None]:
        """The keys of those of the projects that are not deleted, by project, as
        `current_project_key` returns them."""
        rows = await self.db.fetch_all(
            "SELECT p.id, k.id, k.project_id, k.wrapped FROM projects AS p"
            " LEFT JOIN project_keys AS k ON k.project_id = p.id AND k.retired_at IS NULL"
            f" WHERE {among('p.id', project_ids)} AND p.status <> 'deleted'",
            tuple(project_ids),
        )
        return {
            project_id: ProjectKey(id, key_project_id, wrapped) if id is not None else None
            for project_id, id, key_project_id, wrapped in rows
        }

    async def project_keys_of(self, project_id: int) -> list[ProjectKey]:
        """All keys of the project, retired ones included, by id."""
        rows = await self.db.fetch_all(
            "SELECT id, project_id, wrapped FROM project_keys WHERE project_id = ? ORDER BY id",
            (project_id,),
        )
        return [_project_key(row) for row in rows]

    async def next_project_key_id(self) -> int:
        """The id of the next project key to be added. Ids are not reused."""
        return await self.db.dialect.next_id(self.db, "project_keys")

    async def add_project_key(self, key: ProjectKey, master_key_id: str) -> None:
        """Store the new current key of a project, under the id from `next_project_key_id`.

        Raises `UniqueViolation` when the project has a current key.
        """
        await self.add_project_keys([key], master_key_id)

    async def add_project_keys(self, keys: Sequence[ProjectKey], master_key_id: str) -> None:
        """The same for several projects; the ids follow one another."""
        now = self.now()
        await self.db.execute_many(
            "INSERT INTO project_keys (id, project_id, master_key_id, wrapped, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            [(id, project_id, master_key_id, wrapped, now) for id, project_id, wrapped in keys],
        )

    async def set_wrapped(self, key_id: int, master_key_id: str, wrapped: str) -> None:
        """Store a project key, wrapped under this master key."""
        await self.db.execute(
            "UPDATE project_keys SET wrapped = ?, master_key_id = ? WHERE id = ?",
            (wrapped, master_key_id, key_id),
        )


_SEALED_VALUES = " + ".join(
    f"(SELECT count(*) FROM project_keys AS k JOIN {kind.table} AS s ON {kind.is_under('s', 'k')}"
    " WHERE k.master_key_id = m.key_id)"
    for kind in SEALED_KINDS
)


def _project_key(row: Row) -> ProjectKey:
    return ProjectKey(row["id"], row["project_id"], row["wrapped"])


@dataclass(frozen=True, slots=True)
class KeyRecords:
    """The database's key records, read before any key is unwrapped or changed."""

    installation_id: str
    canaries: dict[str, str]
    in_use: frozenset[str]
    """Master keys that wrap a key."""
    wrapped_key: str = field(repr=False)
    """The installation's own key, wrapped under a master key."""


def read_key_records(db_manager: DatabaseManager) -> KeyRecords | None:
    """The key records of a database with any schema version; `None` when it has no records yet.

    Raises `DatabaseError`.
    """
    if not db_manager.has_tables("installation", "master_keys"):
        return None
    installations = db_manager.execute_query(
        "SELECT installation_id, wrapped_key FROM installation"
    )
    if not installations:
        return None
    canaries = db_manager.execute_query("SELECT key_id, canary FROM master_keys")
    tables = ["installation", "project_keys"]
    if db_manager.has_tables("answer_keys"):
        tables.append("answer_keys")
    used = db_manager.execute_query(
        " UNION ".join(f"SELECT master_key_id FROM {table}" for table in tables)
    )
    return KeyRecords(
        installation_id=installations[0]["installation_id"],
        canaries={row["key_id"]: row["canary"] for row in canaries},
        in_use=frozenset(row["master_key_id"] for row in used),
        wrapped_key=installations[0]["wrapped_key"],
    )


def begin_epoch(db_manager: DatabaseManager, now: int) -> None:
    """Begin the next epoch of ids: the present time in seconds, or the number after the present
    epoch if that is greater. Two restores of one backup so begin different epochs.

    A database from before there were epochs begins one when it is migrated. Raises `DatabaseError`.
    """
    rows = db_manager.execute_query("SELECT * FROM installation WHERE id = 1")
    if rows and "epoch" in rows[0]:
        epoch = max(now, rows[0]["epoch"] + 1)
        db_manager.execute_command("UPDATE installation SET epoch = ? WHERE id = 1", (epoch,))
