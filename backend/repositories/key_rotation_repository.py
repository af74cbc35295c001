"""Key rotations, and the project keys that they still have to process."""

from dataclasses import dataclass

from backend.repositories.keys_repository import ProjectKey
from backend.repositories.sealed_repository import SEALED_KINDS
from database.base import TableAccess
from database.engine import Row

_UNUSED = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {kind.table} AS s WHERE {kind.is_under('s', 'project_keys')})"
    for kind in SEALED_KINDS
)


@dataclass(frozen=True, slots=True)
class StoredRotation:
    """A rotation's row."""

    id: int
    reencrypt: bool
    last_old_key_id: int
    """The greatest id of a project key when it began. `reencrypt` replaces the keys up to it."""
    total: int
    done: int
    failed: int
    started_at: str
    finished_at: str | None
    last_old_answer_key_id: int
    """The same of the keys for answers."""


class KeyRotationRepository(TableAccess):
    """The table `key_rotations`."""

    async def latest(self) -> StoredRotation | None:
        """The newest rotation, or `None` before the first."""
        row = await self.db.fetch_one("SELECT * FROM key_rotations ORDER BY id DESC LIMIT 1")
        return _rotation(row) if row is not None else None

    async def running(self) -> StoredRotation | None:
        """The unfinished rotation, or `None`."""
        row = await self.db.fetch_one("SELECT * FROM key_rotations WHERE finished_at IS NULL")
        return _rotation(row) if row is not None else None

    async def begin(self, *, reencrypt: bool, total: int) -> StoredRotation:
        """A new rotation of the present keys. Raises `UniqueViolation` while another rotation is
        running."""
        rows = await self.db.execute_returning(
            "INSERT INTO key_rotations"
            " (reencrypt, last_old_key_id, total, started_at, last_old_answer_key_id)"
            " SELECT ?, coalesce(max(id), 0), ?, ?,"
            " (SELECT coalesce(max(id), 0) FROM answer_keys) FROM project_keys RETURNING *",
            (int(reencrypt), total, self.now()),
        )
        return _rotation(rows[0])

    async def advance(self, id: int, *, done: int, failed: int) -> None:
        """Add to the counts of a running rotation."""
        await self.db.execute(
            "UPDATE key_rotations SET done = done + ?, failed = failed + ?"
            " WHERE id = ? AND finished_at IS NULL",
            (done, failed, id),
        )

    async def set_counts(self, id: int, *, total: int, done: int, failed: int) -> None:
        """Set the counts of a running rotation."""
        await self.db.execute(
            "UPDATE key_rotations SET total = ?, done = ?, failed = ?"
            " WHERE id = ? AND finished_at IS NULL",
            (total, done, failed, id),
        )

    async def finish(self, id: int) -> None:
        """Mark a rotation as finished."""
        await self.db.execute(
            "UPDATE key_rotations SET finished_at = ? WHERE id = ? AND finished_at IS NULL",
            (self.now(), id),
        )

    async def wrapped_keys(self) -> int:
        """The number of all wrapped keys, the installation's included."""
        row = await self.db.fetch_one(
            "SELECT (SELECT count(*) FROM project_keys) + (SELECT count(*) FROM answer_keys) + 1"
            " AS keys"
        )
        return int(row["keys"]) if row is not None else 1

    async def pending(self, rotation: StoredRotation, master_key_id: str) -> int:
        """The number of keys that must still be wrapped under this master key, or replaced."""
        last_old = rotation.last_old_key_id if rotation.reencrypt else 0
        last_old_answers = rotation.last_old_answer_key_id if rotation.reencrypt else 0
        row = await self.db.fetch_one(
            "SELECT (SELECT count(*) FROM project_keys WHERE id <= ? OR master_key_id <> ?)"
            " + (SELECT count(*) FROM answer_keys WHERE id <= ? OR master_key_id <> ?)"
            " + (SELECT count(*) FROM installation WHERE master_key_id <> ?) AS keys",
            (last_old, master_key_id, last_old_answers, master_key_id, master_key_id),
        )
        return int(row["keys"]) if row is not None else 0

    async def rewrap_installation(self, master_key_id: str, wrapped: str) -> None:
        """Store the installation's key, wrapped under this master key."""
        await self.db.execute(
            "UPDATE installation SET master_key_id = ?, wrapped_key = ? WHERE id = 1",
            (master_key_id, wrapped),
        )

    async def keys_under_others(
        self, master_key_id: str, after_id: int, limit: int
    ) -> list[ProjectKey]:
        """Up to `limit` project keys after `after_id` that are wrapped under another master key,
        by id."""
        rows = await self.db.fetch_all(
            "SELECT id, project_id, wrapped FROM project_keys"
            " WHERE id > ? AND master_key_id <> ? ORDER BY id LIMIT ?",
            (after_id, master_key_id, limit),
        )
        return [ProjectKey(*tuple(row)) for row in rows]

    async def keys_to_replace(
        self, last_old_id: int, after_id: int, limit: int
    ) -> list[ProjectKey]:
        """Up to `limit` current project keys after `after_id`, up to `last_old_id`."""
        return await self._old_keys("retired_at IS NULL", last_old_id, after_id, limit)

    async def keys_to_empty(self, last_old_id: int, after_id: int, limit: int) -> list[ProjectKey]:
        """Up to `limit` retired project keys after `after_id`, up to `last_old_id`."""
        return await self._old_keys("retired_at IS NOT NULL", last_old_id, after_id, limit)

    async def retire(self, project_key_id: int) -> None:
        """Mark a project key as retired: new values are not encrypted under it."""
        await self.db.execute(
            "UPDATE project_keys SET retired_at = ? WHERE id = ? AND retired_at IS NULL",
            (self.now(), project_key_id),
        )

    async def remove_unused(self, project_key_id: int) -> bool:
        """Remove a retired project key unless a value is still encrypted under it. Returns whether
        the key is gone."""
        await self.db.execute(
            f"DELETE FROM project_keys WHERE id = ? AND retired_at IS NOT NULL AND {_UNUSED}",
            (project_key_id,),
        )
        row = await self.db.fetch_one("SELECT 1 FROM project_keys WHERE id = ?", (project_key_id,))
        return row is None

    async def _old_keys(
        self, condition: str, last_old_id: int, after_id: int, limit: int
    ) -> list[ProjectKey]:
        rows = await self.db.fetch_all(
            "SELECT id, project_id, wrapped FROM project_keys"
            f" WHERE id > ? AND id <= ? AND {condition} ORDER BY id LIMIT ?",
            (after_id, last_old_id, limit),
        )
        return [ProjectKey(*tuple(row)) for row in rows]


def _rotation(row: Row) -> StoredRotation:
    columns = dict(row)
    return StoredRotation(**{**columns, "reencrypt": bool(columns["reencrypt"])})
