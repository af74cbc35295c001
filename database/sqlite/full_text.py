"""Full-text search in SQLite: an FTS5 index for a table, updated by the code that writes the table.

The index stores no text of its own. It indexes two columns of a view: the text that people search,
and labels, which are words that the view makes from a row's other columns. A search returns the
rows with all of the wanted words and labels, newest first. Its cost depends on the rarest of them
and the length of the page, not on the size of the table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from unicodedata import normalize

from database.engine import Executor
from database.errors import DatabaseCorrupt
from database.portable_sql import with_ids

MERGE_PAGES = 64
"""The most pages that one `tidy` writes, in about ten milliseconds. It may read many more if most
of their entries were removed."""


@dataclass(frozen=True, slots=True)
class FullTextIndex:
    """The index `name` over the columns `text` and `labels` of the view `source`.

    The view's `id` is the row's id. Every change must be reported in the transaction that changes
    the rows: new rows after their insertion, others before their deletion.
    """

    name: str
    source: str
    text: str
    labels: str

    async def add(self, db: Executor, ids: Sequence[int]) -> None:
        """Index the rows with these ids, which must not be indexed yet."""
        columns = f"{self.text}, {self.labels}"
        condition, params = with_ids(ids)
        await db.execute(
            f"INSERT INTO {self.name} (rowid, {columns})"
            f" SELECT id, {columns} FROM {self.source} WHERE {condition}",
            params,
        )

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

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Rebuild a part of the index, which frees the space that removed rows take. Returns
        whether more is left. The first call of a round must set `begin`."""
        before = await self._changes(db)
        pages = -MERGE_PAGES if begin else MERGE_PAGES
        await db.execute(
            f"INSERT INTO {self.name} ({self.name}, rank) VALUES ('merge', ?)", (pages,)
        )
        # FTS5 documents that a difference below two means that nothing was done.
        return await self._changes(db) - before >= 2

    async def check(self, db: Executor) -> bool:
        """Whether the index matches the rows exactly. Reads all of both."""
        try:
            await db.execute(
                f"INSERT INTO {self.name} ({self.name}, rank) VALUES ('integrity-check', 1)"
            )
        except DatabaseCorrupt:
            return False
        return True

    def joined(self, table: str, alias: str) -> tuple[str, str]:
        """The FROM clause, and the expression for the ids: see `TextIndex.joined`."""
        # The index gives the order. The other join order would need a sort.
        return f"{self.name} AS i CROSS JOIN {table} AS {alias} ON {alias}.id = i.rowid", "i.rowid"

    def matching(
        self, words: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[str]]:
        """The condition for rows whose text contains all of `words`, and that have one of each
        group of `labels`. There must be a word or a label.

        FTS5's query syntax has no effect in words. A word with punctuation matches its parts in
        this order. A word without a letter or digit is ignored; if there are no other words,
        nothing matches.
        """
        parts = []
        if words:
            # A text is indexed in its original Unicode normal form.
            forms = dict.fromkeys(
                " ".join(_string(form(word)) for word in words) for form in _FORMS
            )
            parts.append(f"{{{self.text}}} : (({') OR ('.join(forms)}))")
        parts.extend(
            f"{{{self.labels}}} : ({' OR '.join(map(_string, group))})" for group in labels
        )
        return f"i.{self.name} MATCH ?", (" AND ".join(parts),)

    @staticmethod
    async def _changes(db: Executor) -> int:
        row = await db.fetch_one("SELECT total_changes()")
        return int(row[0]) if row is not None else 0


_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    partial(normalize, "NFC"),
    partial(normalize, "NFD"),
)


def _string(word: str) -> str:
    # FTS5 reads its query up to the first NUL.
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'
