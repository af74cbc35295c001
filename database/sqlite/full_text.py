"""Full-text search in SQLite: FTS5 indexes for a table, updated by the code that writes the table.

The index stores no text of its own. It indexes two texts of a row: the words that people search,
and labels, which are words made from the row's other columns. A search returns the rows with all of
the wanted words and labels, newest first. Its cost depends on the rarest of them and the length of
the page, not on the size of the table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from unicodedata import normalize

from database.engine import Executor, IndexedRows, Value
from database.portable_sql import with_ids
from database.sqlite.fts5 import merge

_LARGEST_INSERT = 1024
"""The most rows of one statement. Statements have a power of two of rows, some of them empty, so
that few serve all numbers."""


@dataclass(frozen=True, slots=True)
class _Fts5:
    """What both kinds of indexes have."""

    name: str

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Rebuild a part of the index, which frees the space that removed rows take. Returns
        whether more is left. The first call of a round must set `begin`."""
        return await merge(db, self.name, begin=begin)

    def joined(self, table: str, alias: str) -> tuple[str, str]:
        """The FROM clause, and the expression for the ids: see `TextIndex.joined`."""
        # The index gives the order. The other join order would need a sort.
        return f"{self.name} AS i CROSS JOIN {table} AS {alias} ON {alias}.id = i.rowid", "i.rowid"

    def _matching(self, parts: Sequence[str]) -> tuple[str, tuple[str]]:
        return f"i.{self.name} MATCH ?", (" AND ".join(parts),)


@dataclass(frozen=True, slots=True)
class FullTextIndex(_Fts5):
    """The index `name` with the columns `words` and `labels`: a `TextIndex`."""

    words: str
    labels: str

    async def add(self, db: Executor, rows: IndexedRows) -> None:
        """Index these rows, which must not be indexed yet."""
        columns = f"rowid, {self.words}, {self.labels}"
        await _insert(db, f"INSERT INTO {self.name} ({columns}) SELECT", rows)

    async def remove(self, db: Executor, rows: IndexedRows) -> None:
        """Remove these rows, which must be in the index with the same words and labels."""
        # FTS5 needs the indexed texts to find the entries.
        columns = f"{self.name}, rowid, {self.words}, {self.labels}"
        await _insert(db, f"INSERT INTO {self.name} ({columns}) SELECT 'delete',", rows)

    def matching(
        self, phrases: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[str]]:
        """The condition for rows that contain all of `phrases`, and have one of each group of
        `labels`. There must be a phrase or a label. FTS5's query syntax has no effect."""
        parts = []
        if phrases:
            parts.append(f"{{{self.words}}} : ({' AND '.join(map(_string, phrases))})")
        return self._matching([*parts, *_labelled(self.labels, labels)])


@dataclass(frozen=True, slots=True)
class EarlierIndex(_Fts5):
    """The index `name` over the columns `text` and `labels` of the view `source`, in which an
    earlier version found rows: an `EarlierTextIndex`."""

    source: str
    text: str
    labels: str

    async def remove(self, db: Executor, ids: Sequence[int]) -> None:
        """Remove the rows with these ids from the index. All of them must be in it."""
        # FTS5 needs the indexed text to find the entries, so it is read from the rows.
        columns = f"{self.text}, {self.labels}"
        condition, params = with_ids(ids)
        await db.execute(
            f"INSERT INTO {self.name} ({self.name}, rowid, {columns})"
            f" SELECT 'delete', id, {columns} FROM {self.source} WHERE {condition}",
            params,
        )

    async def clear(self, db: Executor) -> None:
        """Free the space of an index whose rows were all removed."""
        await db.execute(f"INSERT INTO {self.name} ({self.name}) VALUES ('delete-all')")

    def matching(
        self, words: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[str]]:
        """The condition for rows whose text contains all of `words`, and that have one of each
        group of `labels`. There must be a word or a label.

        A word with punctuation matches its parts in this order. A word without a letter or digit
        is ignored; if there are no other words, nothing matches.
        """
        parts = []
        if words:
            # A text is indexed in its original Unicode normal form.
            forms = dict.fromkeys(
                " ".join(_string(form(word)) for word in words) for form in _FORMS
            )
            parts.append(f"{{{self.text}}} : (({') OR ('.join(forms)}))")
        return self._matching([*parts, *_labelled(self.labels, labels)])


async def _insert(db: Executor, head: str, rows: IndexedRows) -> None:
    # One statement for many rows, because FTS5 begins another segment at each statement.
    for start in range(0, len(rows.ids), _LARGEST_INSERT):
        part = slice(start, start + _LARGEST_INSERT)
        count = len(rows.ids[part])
        size = 1 << (count - 1).bit_length()
        # Without tuples, which the garbage collector would count.
        params: list[Value] = [None] * (3 * size)
        params[0 : 3 * count : 3] = rows.ids[part]
        params[1 : 3 * count : 3] = rows.words[part]
        params[2 : 3 * count : 3] = rows.labels[part]
        values = ", ".join(["(?, ?, ?)"] * size)
        await db.execute(
            f"{head} column1, column2, column3 FROM (VALUES {values}) WHERE column1 IS NOT NULL",
            params,
        )


def _labelled(column: str, labels: Iterable[Sequence[str]]) -> list[str]:
    return [f"{{{column}}} : ({' OR '.join(map(_string, group))})" for group in labels]


_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    partial(normalize, "NFC"),
    partial(normalize, "NFD"),
)


def _string(word: str) -> str:
    # FTS5 reads its query up to the first NUL.
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'
