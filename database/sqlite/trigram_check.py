"""Whether an index of trigrams fits its rows, on a connection that only reads.

FTS5's own check is a write. This one counts, for each trigram, the rows that have it, and compares
the numbers with those of the index: so it finds a row that the index lacks, and one that it should
not have, unless two mistakes about the same trigram make up for each other.
"""

import sqlite3
from collections import Counter
from typing import Final, NamedTuple

from database.errors import DRIVER_ERRORS, translate
from database.sqlite.check_progress import OnShare, id_span, nothing_told

_ROWS: Final = 1_000
_TRIGRAMS: Final = 100_000
"""How many rows, and different trigrams, are read between two looks at the progress."""
_ROWS_SHARE: Final = 0.85
"""The share of the time that counting takes; the index is read in the rest."""


class CheckedIndex(NamedTuple):
    """The result of a check."""

    rows: int
    """The rows that are indexed."""
    problem: str | None
    """What is wrong; `None` if nothing is."""


def check_counts(
    connection: sqlite3.Connection,
    source: str,
    trigrams: str,  # noqa: ARG001 - in the order of `Dialect.substring_index`
    counts: str,
    on_share: OnShare = nothing_told,
) -> CheckedIndex:
    """Compare the index whose `counts` are listed by this table with the texts of the view
    `source`, in one snapshot. Raises `DatabaseError`."""
    try:
        connection.execute("BEGIN")
        try:
            expected: Counter[str] = Counter()
            rows = _count(connection, source, expected, on_share)
            return CheckedIndex(rows, _difference(connection, counts, expected, on_share))
        finally:
            connection.execute("ROLLBACK")
    except DRIVER_ERRORS as error:
        raise translate(error) from None


def _count(
    connection: sqlite3.Connection, source: str, expected: Counter[str], on_share: OnShare
) -> int:
    # Texts may be malformed if another program wrote them. FTS5 splits their bytes.
    total = max(1, id_span(connection, source, "id"))
    cursor = connection.execute(f"SELECT CAST(text AS BLOB) FROM {source}")  # noqa: S608
    rows = 0
    while found := cursor.fetchmany(_ROWS):
        for (data,) in found:
            text = bytes(data).decode("utf-8", "surrogateescape")
            expected.update({text[start : start + 3] for start in range(len(text) - 2)})
        rows += len(found)
        on_share(_ROWS_SHARE * min(1.0, rows / total))
    return rows


def _difference(
    connection: sqlite3.Connection, counts: str, expected: Counter[str], on_share: OnShare
) -> str | None:
    total = max(1, len(expected))
    cursor = connection.execute(f"SELECT CAST(term AS BLOB), doc FROM {counts}")  # noqa: S608
    seen = 0
    while found := cursor.fetchmany(_TRIGRAMS):
        for data, number in found:
            term = bytes(data).decode("utf-8", "surrogateescape")
            should = expected.pop(term, 0)
            if should != number:
                return f"it has {number} rows with a trigram that {should} rows have"
        seen += len(found)
        on_share(_ROWS_SHARE + (1 - _ROWS_SHARE) * min(1.0, seen / total))
    if expected:
        return f"it lacks {len(expected)} trigrams that rows have"
    return None
