"""SQLite's implementation of the operations that differ between engines."""

from functools import cache

from database.engine import Executor
from database.sqlite.full_text import EarlierIndex, FullTextIndex
from database.sqlite.json_pages import fetch_json_page
from database.sqlite.trigrams import TrigramIndex


class SqliteDialect:
    """The `Dialect` of SQLite."""

    fetch_json_page = staticmethod(fetch_json_page)

    def utf8(self, column: str) -> str:
        """The bytes of the text in `column`, which SQLite keeps in UTF-8."""
        return f"CAST({column} AS BLOB)"

    @cache  # noqa: B019 - there is one dialect, and one index
    def text_index(self, name: str, words: str, labels: str) -> FullTextIndex:
        """The full-text index `name` with the columns `words` and `labels`."""
        return FullTextIndex(name, words, labels)

    @cache  # noqa: B019 - there is one dialect, and one index
    def earlier_text_index(self, name: str, source: str, text: str, labels: str) -> EarlierIndex:
        """The full-text index `name` over the columns `text` and `labels` of the view `source`."""
        return EarlierIndex(name, source, text, labels)

    @cache  # noqa: B019 - there is one dialect, and few indexes
    def substring_index(self, name: str, source: str, parts: str, counts: str) -> TrigramIndex:
        """The index `name` over the view `source`; `parts` is the table of its trigrams, `counts`
        that of how many rows have each."""
        return TrigramIndex(name, source, parts, counts)

    async def next_id(self, db: Executor, table: str) -> int:
        """The id of the next row of `table`."""
        # Like SQLite itself, which does not rely on a counter that may have been turned back.
        row = await db.fetch_one(
            f"SELECT max((SELECT coalesce(max(id), 0) FROM {table}),"  # noqa: S608
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0))",
            (table,),
        )
        return int(row[0]) + 1 if row is not None else 1


SQLITE = SqliteDialect()
