"""The stored answers to requests with an idempotency key, and the keys that seal them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from database.base import TableAccess
from database.engine import Row, Value
from database.portable_sql import among


class AnswerKey(NamedTuple):
    """A key for answers, wrapped under a master key."""

    id: int
    wrapped: str

    def __repr__(self) -> str:
        return f"AnswerKey(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The row of an answer, and the key that it is sealed under."""

    id: int
    key_mac: bytes = field(repr=False)
    key: AnswerKey
    sealed: bytes = field(repr=False)
    created_at: str


class NewAnswer(NamedTuple):
    """An answer to be stored."""

    key_mac: bytes
    sealed: bytes
    project_ids: Sequence[int]
    """The projects that it is about."""


_SELECT = (
    "SELECT a.id, a.key_mac, a.answer_key_id, k.wrapped, a.sealed, a.created_at"
    " FROM stored_answers AS a JOIN answer_keys AS k ON k.id = a.answer_key_id"
)
_INSERT = (
    "INSERT INTO stored_answers (key_mac, answer_key_id, project_id, sealed, created_at) VALUES "
)
PROJECT_OF = {
    "project_id": "SELECT id FROM projects WHERE id = ?",
    "run_id": "SELECT project_id AS id FROM agent_runs WHERE id = ?",
}
"""The statements that find the project of what a name stands for, for each name in the path of a
route that takes an idempotency key."""


class StoredAnswerRepository(TableAccess):
    """The tables `stored_answers`, `stored_answer_projects` and `answer_keys`."""

    async def find(self, key_mac: bytes) -> StoredAnswer | None:
        """The answer that is stored under this MAC, or `None`."""
        row = await self.db.fetch_one(f"{_SELECT} WHERE a.key_mac = ?", (key_mac,))
        return _answer(row) if row is not None else None

    async def stored_macs(self, key_macs: Sequence[bytes]) -> set[bytes]:
        """Those of the MACs under which an answer is stored."""
        rows = await self.db.fetch_all(
            f"SELECT key_mac FROM stored_answers WHERE {among('key_mac', key_macs)}", key_macs
        )
        return {row[0] for row in rows}

    async def add(self, key: AnswerKey, answers: Sequence[NewAnswer], now: str) -> None:
        """Store answers that are sealed under this key, and bound to this time. Raises
        `UniqueViolation` when one is stored under the same MAC."""
        values: list[Value] = []
        for answer in answers:
            first = answer.project_ids[0] if answer.project_ids else None
            values += (answer.key_mac, key.id, first, answer.sealed, now)
        marks = ", ".join(["(?, ?, ?, ?, ?)"] * len(answers))
        ids = await self.db.insert(_INSERT + marks, values, len(answers))
        others = [
            (project_id, id)
            for id, answer in zip(ids, answers, strict=True)
            for project_id in answer.project_ids[1:]
        ]
        if others:
            await self.db.execute_many(
                "INSERT INTO stored_answer_projects (project_id, answer_id) VALUES (?, ?)", others
            )

    async def remove(self, ids: Sequence[int]) -> int:
        """Remove the answers with these ids. Returns their number."""
        return await self.db.execute(f"DELETE FROM stored_answers WHERE {among('id', ids)}", ids)

    async def remove_of_project(self, project_id: int) -> None:
        """Remove all answers that are about this project."""
        await self.db.execute(
            "DELETE FROM stored_answers WHERE id IN"
            " (SELECT answer_id FROM stored_answer_projects WHERE project_id = ?)",
            (project_id,),
        )
        await self.db.execute("DELETE FROM stored_answers WHERE project_id = ?", (project_id,))

    async def project_of(self, name: str, id: int) -> int | None:
        """The project of what `name` in a path stands for, if that is `id`; `None` if there is no
        such thing. Raises `KeyError` for a name that is not in `PROJECT_OF`."""
        row = await self.db.fetch_one(PROJECT_OF[name], (id,))
        return row["id"] if row is not None else None

    async def current_key(self) -> AnswerKey | None:
        """The key for new answers, or `None` before the first one."""
        row = await self.db.fetch_one("SELECT id, wrapped FROM answer_keys WHERE is_current = 1")
        return AnswerKey(*row) if row is not None else None

    async def next_key_id(self) -> int:
        """The id of the next key to be added. Ids are not reused."""
        return await self.db.dialect.next_id(self.db, "answer_keys")

    async def add_key(self, key: AnswerKey, master_key_id: str) -> None:
        """Store the new current key, under the id from `next_key_id`. Raises `UniqueViolation` when
        there is a current key."""
        await self.db.execute(
            "INSERT INTO answer_keys (id, master_key_id, wrapped, created_at) VALUES (?, ?, ?, ?)",
            (key.id, master_key_id, key.wrapped, self.now()),
        )

    async def keys_after(self, after_id: int, limit: int) -> list[AnswerKey]:
        """Up to `limit` keys after `after_id`, by id."""
        rows = await self.db.fetch_all(
            "SELECT id, wrapped FROM answer_keys WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [AnswerKey(*row) for row in rows]

    async def set_wrapped(self, key_id: int, master_key_id: str, wrapped: str) -> None:
        """Store a key, wrapped under this master key."""
        await self.db.execute(
            "UPDATE answer_keys SET wrapped = ?, master_key_id = ? WHERE id = ?",
            (wrapped, master_key_id, key_id),
        )

    async def retire(self, key_id: int) -> None:
        """Seal no new answers under this key."""
        await self.db.execute("UPDATE answer_keys SET is_current = 0 WHERE id = ?", (key_id,))

    async def remove_unused_keys(self, last_old_id: int) -> tuple[int, int]:
        """Remove the retired keys with ids up to `last_old_id` under which no answer is sealed.
        Returns how many were removed, and how many such keys are left."""
        removed = await self.db.execute(
            "DELETE FROM answer_keys WHERE id <= ? AND is_current = 0"
            " AND NOT EXISTS (SELECT 1 FROM stored_answers WHERE answer_key_id = answer_keys.id)",
            (last_old_id,),
        )
        row = await self.db.fetch_one(
            "SELECT count(*) AS keys FROM answer_keys WHERE id <= ?", (last_old_id,)
        )
        return removed, int(row["keys"]) if row is not None else 0

    async def under_old_keys(
        self, last_old_id: int, after: tuple[int, int], limit: int
    ) -> list[StoredAnswer]:
        """Up to `limit` answers that are sealed under keys with ids up to `last_old_id`, in the
        order of their keys and ids, of which `after` has the last ones."""
        rows = await self.db.fetch_all(
            f"{_SELECT} WHERE a.answer_key_id <= ? AND (a.answer_key_id, a.id) > (?, ?)"
            " ORDER BY a.answer_key_id, a.id LIMIT ?",
            (last_old_id, *after, limit),
        )
        return [_answer(row) for row in rows]

    async def after(self, after_id: int, limit: int) -> list[StoredAnswer]:
        """Up to `limit` answers after `after_id`, by id."""
        rows = await self.db.fetch_all(
            f"{_SELECT} WHERE a.id > ? ORDER BY a.id LIMIT ?", (after_id, limit)
        )
        return [_answer(row) for row in rows]

    async def move(self, id: int, key_id: int, sealed: bytes) -> None:
        """Store the same answer, sealed under another key."""
        await self.db.execute(
            "UPDATE stored_answers SET sealed = ?, answer_key_id = ? WHERE id = ?",
            (sealed, key_id, id),
        )


def _answer(row: Row) -> StoredAnswer:
    id, key_mac, key_id, wrapped, sealed, created_at = row
    return StoredAnswer(id, key_mac, AnswerKey(key_id, wrapped), sealed, created_at)
