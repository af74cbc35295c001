"""Search for parts of texts in SQLite: an FTS5 index of trigrams over a view of a table.

The index stores for each trigram the rows that have it, and no text of its own. A part of three
characters or more is in no row that lacks one of its trigrams. A shorter part is the beginning of
trigrams, because the view adds two characters to each text.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from database.engine import Candidates, Executor, Value
from database.sqlite.fts5 import agrees, merge

_PROBED = 16
"""The most trigrams of a part that are used. More would find hardly fewer rows."""
_USED = 3
"""The most trigrams that are used together once one of them is rare. With the others, which more
rows have, SQLite would read those rows too."""


@dataclass(frozen=True, slots=True)
class TrigramIndex:
    """The index `name` over the column `text` of the view `source`, whose `id` is the row's id; its
    trigrams are listed by the table `trigrams`, and counted by the table `counts`.

    Every change must be reported in the transaction that changes the rows: new rows after their
    insertion, others before their change or deletion and again after a change.
    """

    name: str
    source: str
    trigrams: str
    counts: str

    async def add(self, db: Executor, first_id: int, last_id: int) -> None:
        """Index the rows of the view with ids in this range. None of them may be indexed yet."""
        await db.execute(
            f"INSERT INTO {self.name} (rowid, text)"
            f" SELECT id, text FROM {self.source} WHERE id BETWEEN ? AND ?",
            (first_id, last_id),
        )

    async def remove(self, db: Executor, id: int) -> None:
        """Remove a row from the index, if it is in the view. It must be indexed then."""
        # FTS5 needs the indexed text to find the entries, so it is read from the row.
        await db.execute(
            f"INSERT INTO {self.name} ({self.name}, rowid, text)"
            f" SELECT 'delete', id, text FROM {self.source} WHERE id = ?",
            (id,),
        )

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Rebuild a part of the index without the trigrams of removed rows. Returns whether more
        is left. The first call of a round must set `begin`."""
        return await merge(db, self.name, begin=begin)

    async def check(self, db: Executor) -> bool:
        """Whether the index matches the rows of the view exactly. Reads all of both."""
        return await agrees(db, self.name)

    async def candidates(self, db: Executor, part: str, few: int) -> Candidates:
        """See `SubstringIndex.candidates`."""
        found = _trigrams(part)
        if not found:
            return await self._of_short_part(db, part, few)
        counts = await self._counts(db, found, few)
        rare = sorted(zip(counts, found, strict=True))[:_USED]
        used = [trigram for count, trigram in rare if count < few] or found
        condition, params = f"{self.name} MATCH ?", (" ".join(map(_string, used)),)
        return Candidates(
            f"SELECT rowid AS found_id FROM {self.name} WHERE {condition}",
            params,
            rare[0][0],
            (f"i.{condition}", params),
        )

    def joined(self, table: str) -> tuple[str, str, str]:
        """See `SubstringIndex.joined`."""
        # The index gives the order. The other join order would need a sort.
        return f"{self.name} AS i CROSS JOIN {table}", f"{table}.id = i.rowid", "i.rowid"

    async def _of_short_part(self, db: Executor, part: str, few: int) -> Candidates:
        end = _after_all_with(part)
        params: tuple[Value, ...] = (part,) if end is None else (part, end)
        condition = "term >= ?" if end is None else "term >= ? AND term < ?"
        ids = f"SELECT doc AS found_id FROM {self.trigrams} WHERE {condition}"
        row = await db.fetch_one(f"SELECT count(*) FROM ({ids} LIMIT ?)", (*params, few))
        return Candidates(ids, params, int(row[0]) if row is not None else few, None)

    async def _counts(self, db: Executor, trigrams: Sequence[str], most: int) -> list[int]:
        """How many rows have each trigram; `most` for more."""
        counted = (
            f"(SELECT count(*) FROM (SELECT 1 FROM {self.name} WHERE {self.name} MATCH ?"
            f" LIMIT {most:d}))"
        )
        row = await db.fetch_one(
            f"SELECT {', '.join([counted] * len(trigrams))}", list(map(_string, trigrams))
        )
        return list(row) if row is not None else []


def _trigrams(part: str) -> list[str]:
    """Up to `_PROBED` different trigrams of the text, which are spread over it."""
    all_of_it = list(dict.fromkeys(part[start : start + 3] for start in range(len(part) - 2)))
    if len(all_of_it) <= _PROBED:
        return all_of_it
    step = (len(all_of_it) - 1) / (_PROBED - 1)
    return [all_of_it[round(place * step)] for place in range(_PROBED)]


def _after_all_with(beginning: str) -> str | None:
    """The first text behind all that begin with this one; `None` if there is none behind them."""
    while beginning:
        code = ord(beginning[-1]) + 1
        beginning = beginning[:-1]
        if code <= sys.maxunicode:
            # Surrogates are not stored.
            return beginning + chr(0xE000 if code == 0xD800 else code)
    return None


def _string(trigram: str) -> str:
    return '"' + trigram.replace('"', '""') + '"'
