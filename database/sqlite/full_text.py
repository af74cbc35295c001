"""Full-text search as SQLite has it: an FTS5 index beside a table, kept by those who write it.

The index holds no text of its own. It indexes two columns of a view: the text that people search,
and labels, which are words that the view makes of a row's other columns. A search gives the rows
that have all of the wanted words and labels, newest first; its cost follows from the rarest of
them and the length of the page, not from the size of the table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from unicodedata import normalize

from database.engine import Executor
from database.errors import DatabaseCorrupt
from database.portable_sql import with_ids

MERGE_PAGES = 64
"""Pages that one `tidy` writes, at most: some ten milliseconds. It may read many more, if most of
what they hold was removed."""


@dataclass(frozen=True, slots=True)
class FullTextIndex:
    """The index `name` over the columns `text` and `labels` of the view `source`.

    The view has the id of each row as `id`. Every change has to be told in the transaction that
    changes the rows: new ones after they were inserted, others before they are deleted.
    """

    name: str
    source: str
    text: str
    labels: str

    async def add(self, db: Executor, ids: Sequence[int]) -> None:
        """Index the rows with these ids, none of which is indexed yet."""
        columns = f"{self.text}, {self.labels}"
        condition, params = with_ids(ids)
        await db.execute(
            f"INSERT INTO {self.name} (rowid, {columns})"
            f" SELECT id, {columns} FROM {self.source} WHERE {condition}",
            params,
        )

    async def remove(self, db: Executor, ids: Sequence[int]) -> None:
        """Take the rows with these ids out of the index; all must be in it."""
        # The rows themselves tell which entries are theirs.
        columns = f"{self.text}, {self.labels}"
        condition, params = with_ids(ids)
        await db.execute(
            f"INSERT INTO {self.name} ({self.name}, rowid, {columns})"
            f" SELECT 'delete', id, {columns} FROM {self.source} WHERE {condition}",
            params,
        )

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Do a part of putting the index together anew, which frees what removed rows leave in
        it; whether more is to be done. The first call of a round has to `begin` it."""
        before = await self._changes(db)
        pages = -MERGE_PAGES if begin else MERGE_PAGES
        await db.execute(
            f"INSERT INTO {self.name} ({self.name}, rank) VALUES ('merge', ?)", (pages,)
        )
        # What FTS5 documents: a difference below two means that there was nothing to do.
        return await self._changes(db) - before >= 2

    async def check(self, db: Executor) -> bool:
        """Whether the index holds exactly what the rows say; reads all of both."""
        try:
            await db.execute(
                f"INSERT INTO {self.name} ({self.name}, rank) VALUES ('integrity-check', 1)"
            )
        except DatabaseCorrupt:
            return False
        return True

    def joined(self, table: str, alias: str) -> tuple[str, str]:
        """What to select from, and the expression of the ids: see `TextIndex.joined`."""
        # The index gives the order; the tables the other way round would have to be sorted.
        return f"{self.name} AS i CROSS JOIN {table} AS {alias} ON {alias}.id = i.rowid", "i.rowid"

    def matching(
        self, words: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[str]]:
        """The condition for rows that have all of `words` in their text, and of each group of
        `labels` one. There must be some word or label.

        Words are data: none of what FTS5 understands means anything in them. One with punctuation
        in it stands for its parts in this order; one without letter or digit is left out, but
        where there are no others nothing matches.
        """
        parts = []
        if words:
            # A text is indexed in the form of Unicode that it came in.
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
