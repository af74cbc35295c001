"""An index of parts of texts, which follows a table behind the commits.

The index has the rows up to a recorded id, as they are. Newer rows are indexed in the background,
and a search reads those few itself, so that it never misses any.
"""

from itertools import pairwise
from typing import ClassVar, Final, NamedTuple, Self

from database.base import TableAccess
from database.engine import Executor, Row, SubstringIndex

MOST_UNINDEXED: Final = 5_000
"""While the index lacks more rows than this, a search reads the list as if there were none."""


class IndexState(NamedTuple):
    """How far an index has followed its table."""

    indexed_id: int
    """Rows with greater ids are not indexed yet."""
    newest_id: int
    """The greatest id of a row; 0 without rows."""
    last_created_at: str
    """The time of the last indexed row; empty before the first."""
    in_order: bool
    """Whether the times of the indexed rows have risen with their ids."""
    purges: int
    """The number of removed rows after which the index has not been tidied."""
    removals: int
    """The number of removed rows that the index still has, counted as far as 1."""

    @property
    def left(self) -> int:
        """An upper bound on the number of rows that are not indexed yet."""
        return max(0, self.newest_id - self.indexed_id)

    @property
    def is_far_behind(self) -> bool:
        """Whether searches read the list, because too many rows are not indexed."""
        return self.left > MOST_UNINDEXED

    @property
    def is_due(self) -> bool:
        """Whether there is work to do."""
        return self.left > 0 or self.purges > 0 or self.removals > 0


class Step(NamedTuple):
    """What one step has done."""

    rows: int
    """The number of rows that it took."""
    is_full: bool
    """Whether it ended at one of its limits, so that more rows may be left."""


class FollowingIndex(TableAccess):
    """The index of a table, and the table of its state."""

    table: ClassVar[str]
    """The table that the index follows."""
    text: ClassVar[str]
    """The SQL expression for the text of a row."""
    state_table: ClassVar[str]
    names: ClassVar[tuple[str, str, str, str]]
    """The arguments of `Dialect.substring_index`."""
    removals: ClassVar[str | None] = None
    """The table of rows that were removed from `table`, but not yet from the index."""

    @classmethod
    def over(cls, db: Executor) -> Self:
        """The repository inside `db`."""
        bound = object.__new__(cls)
        bound.db = db
        return bound

    @property
    def index(self) -> SubstringIndex:
        """The index of the texts."""
        return self.db.dialect.substring_index(*self.names)

    async def state(self) -> IndexState:
        """How far the index has got."""
        removed = f"(SELECT 1 FROM {self.removals} LIMIT 1)" if self.removals else "0"
        row = await self.db.fetch_one(
            f"SELECT s.indexed_id, (SELECT max(id) FROM {self.table}) AS newest_id,"
            f" s.last_created_at, s.in_order, s.untidy, {removed} AS removals"
            f" FROM {self.state_table} AS s WHERE s.id = 1"
        )
        assert row is not None  # noqa: S101 - the migration has inserted it
        return IndexState(
            row["indexed_id"],
            row["newest_id"] or 0,
            row["last_created_at"],
            bool(row["in_order"]),
            row["untidy"],
            row["removals"] or 0,
        )

    async def index_next(self, limit: int, characters: int) -> Step:
        """Index rows after those that are indexed: up to `limit`, and no more once their texts have
        so many `characters`. Call it inside a transaction."""
        state = await self.state()
        rows: list[Row] = []
        room = characters

        def takes(row: Row) -> bool:
            nonlocal room
            rows.append(row)
            room -= int(row["size"])
            return room > 0

        await self.db.fetch_while(
            f"SELECT id, created_at, length({self.text}) AS size FROM {self.table}"
            " WHERE id > ? ORDER BY id LIMIT ?",
            (state.indexed_id, limit),
            takes,
        )
        if not rows:
            return Step(0, is_full=False)
        times = [state.last_created_at, *(row["created_at"] for row in rows)]
        in_order = state.in_order and all(one <= other for one, other in pairwise(times))
        await self.db.execute(
            f"UPDATE {self.state_table} SET indexed_id = ?, last_created_at = ?, in_order = ?"
            " WHERE id = 1",
            (rows[-1]["id"], times[-1], int(in_order)),
        )
        await self.index.add(self.db, rows[0]["id"], rows[-1]["id"])
        return Step(len(rows), is_full=len(rows) == limit or room <= 0)

    async def turned_back_to(self) -> int | None:
        """The last id that a row has had, if the index has gone further: the counter of ids was
        turned back outside the service, and new rows would seem to be indexed. `None` otherwise."""
        last = await self.db.dialect.next_id(self.db, self.table) - 1
        return last if (await self.state()).indexed_id > last else None

    async def go_back_to(self, indexed_id: int) -> None:
        """Index the rows after this one again. None of them may exist yet."""
        await self.db.execute(
            f"UPDATE {self.state_table} SET indexed_id = ? WHERE id = 1", (indexed_id,)
        )

    async def remove_next(self, limit: int, characters: int) -> Step:
        """Remove what the index has of up to `limit` removed rows, with the same limit of
        `characters`. Call it inside a transaction."""
        if self.removals is None:
            return Step(0, is_full=False)
        ids: list[int] = []
        room = characters

        def takes(row: Row) -> bool:
            nonlocal room
            ids.append(row["id"])
            room -= int(row["size"])
            return room > 0

        await self.db.fetch_while(
            f"SELECT id, length(text) AS size FROM {self.removals} ORDER BY id LIMIT ?",
            (limit,),
            takes,
        )
        for id in ids:
            await self.index.remove(self.db, id)
            await self.db.execute(f"DELETE FROM {self.removals} WHERE id = ?", (id,))
        if ids:
            await self._add_purges(len(ids))
        return Step(len(ids), is_full=len(ids) == limit or room <= 0)

    async def purge(self, id: int) -> None:
        """Remove a row that is about to be deleted from the index. What the index still has of it
        is gone after the next round of `tidy`."""
        await self.index.remove(self.db, id)
        await self.db.execute(
            f"UPDATE {self.state_table} SET untidy = untidy + 1 WHERE id = 1 AND indexed_id >= ?",
            (id,),
        )

    async def tidy(self, *, begin: bool) -> bool:
        """Take a step of a round that removes what the index has of purged rows. Returns whether
        the round goes on. The first step must set `begin`."""
        return await self.index.tidy(self.db, begin=begin)

    async def tidied(self, purges: int) -> None:
        """Note the end of a round, before which there were this many purges."""
        await self._add_purges(-purges)

    async def _add_purges(self, number: int) -> None:
        await self.db.execute(
            f"UPDATE {self.state_table} SET untidy = untidy + ? WHERE id = 1", (number,)
        )


class ProjectIndexRepository(FollowingIndex):
    """The index of the names and repositories of projects."""

    table = "projects"
    text = "search_text"
    state_table = "project_index_state"
    names = (
        "project_index",
        "project_index_texts",
        "project_index_trigrams",
        "project_index_counts",
    )


class RunIndexRepository(FollowingIndex):
    """The index of the target texts of runs."""

    table = "agent_runs"
    text = "target_text"
    state_table = "run_index_state"
    names = ("run_index", "run_index_texts", "run_index_trigrams", "run_index_counts")
    removals = "run_index_removals"


INDEXES: Final = (ProjectIndexRepository, RunIndexRepository)
"""All indexes of this kind."""
