"""The full-text index of logs, and moving logs into it from the index of an earlier version."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.repositories.log_search import labels_of
from backend.repositories.log_words import indexed_texts
from database.engine import EarlierTextIndex, Executor, IndexedRows, Row, TextIndex
from database.portable_sql import with_ids

NewLog = tuple[str, int, str, str | None, str, str | None, int | None, int | None, str | None]
"""Level, its number, message, component, context as JSON text, correlation id, project, run, and
timestamp."""

_WORDS = ("system_log_words", "message", "labels")
_EARLIER = ("system_log_index", "system_log_terms", "message", "labels")
_INDEXED = "id, message, level_no, component, correlation_id, project_id, agent_run_id"
_MOVED_CHARACTERS = 100_000
"""A move takes no more logs once their messages have so many characters."""


@dataclass(frozen=True, slots=True)
class Move:
    """How far the logs of an earlier version are moved, counted in ids. That is an upper bound on
    the number of logs, of which some may have been removed."""

    total: int
    left: int

    @property
    def done(self) -> int:
        """The ids that need not be moved any more."""
        return self.total - self.left


class LogIndex:
    """The full-text indexes of logs. Each log is in one of them, except in its transaction."""

    def __init__(self, db: Executor) -> None:
        self._db = db

    @property
    def words(self) -> TextIndex:
        """The index of logs that are moved, and of all newer ones."""
        return self._db.dialect.text_index(*_WORDS)

    @property
    def earlier(self) -> EarlierTextIndex:
        """The index of logs that an earlier version stored, and that are not moved yet."""
        return self._db.dialect.earlier_text_index(*_EARLIER)

    async def last_earlier(self) -> int:
        """The greatest id of the logs in the earlier index; 0 once all are moved."""
        row = await self._db.fetch_one("SELECT last_id FROM system_log_moves WHERE id = 1")
        return int(row["last_id"]) if row is not None else 0

    async def add(self, ids: Sequence[int], logs: Sequence[NewLog]) -> None:
        """Index logs that were just stored under these ids."""
        words = indexed_texts([log[2] for log in logs])
        labels = [labels_of(log[1], log[3], log[5], log[6], log[7]) for log in logs]
        await self.words.add(self._db, IndexedRows(ids, words, labels))

    async def remove(self, ids: Sequence[int]) -> None:
        """Remove the logs with these ids from the index, before they are deleted."""
        last = await self.last_earlier()
        if earlier := [id for id in ids if id <= last]:
            await self.earlier.remove(self._db, earlier)
        if moved := [id for id in ids if id > last]:
            condition, params = with_ids(moved)
            rows = await self._db.fetch_all(
                f"SELECT {_INDEXED} FROM system_logs WHERE {condition}", params
            )
            await self.words.remove(self._db, _indexed_rows(rows))

    async def move(self, limit: int) -> int:
        """Move up to `limit` logs from the earlier index, newest first. Returns their number, 0
        when none is left: the space of the earlier index is then freed."""
        last = await self.last_earlier()
        rows: list[Row] = []
        characters = 0

        def takes(row: Row) -> bool:
            nonlocal characters
            rows.append(row)
            characters += len(row["message"])
            return characters < _MOVED_CHARACTERS

        await self._db.fetch_while(
            f"SELECT {_INDEXED} FROM system_logs WHERE id <= ? ORDER BY id DESC LIMIT ?",
            (last, limit),
            takes,
        )
        if not rows:
            await self._finish_move()
            return 0
        # FTS5 writes what it has gathered whenever an id is not greater than the one before.
        rows.reverse()
        await self.earlier.remove(self._db, [row["id"] for row in rows])
        await self.words.add(self._db, _indexed_rows(rows))
        await self._db.execute(
            "UPDATE system_log_moves SET last_id = ? WHERE id = 1", (rows[0]["id"] - 1,)
        )
        return len(rows)

    async def _finish_move(self) -> None:
        if await self._db.execute("DELETE FROM system_log_moves WHERE id = 1"):
            await self.earlier.clear(self._db)

    async def progress(self) -> Move | None:
        """How far the logs are moved; `None` when none has to be moved."""
        row = await self._db.fetch_one(
            "SELECT first_id, first_last_id, last_id FROM system_log_moves WHERE id = 1"
        )
        if row is None:
            return None
        first = row["first_id"]
        return Move(total=row["first_last_id"] - first + 1, left=max(0, row["last_id"] - first + 1))


def _indexed_rows(rows: Sequence[Row]) -> IndexedRows:
    ids, messages, *traits = zip(*rows, strict=True)
    return IndexedRows(ids, indexed_texts(messages), list(map(labels_of, *traits)))
