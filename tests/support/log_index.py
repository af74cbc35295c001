"""Compares the full-text indexes of logs with the table, by building them again."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from backend.repositories.log_search import labels_of
from backend.repositories.log_words import indexed_text
from database.connection_manager import DatabaseManager

Entries = Counter[tuple[str, int, str, int]]
"""How often the index has a word, in a row, in a column, in a place of it."""

_TABLES = ("system_log_words", "system_log_index")


def index_agrees(manager: DatabaseManager) -> bool:
    """Whether each committed log is in exactly one index with its words and labels, and nothing
    else is in them."""
    return not index_differences(manager.config.path)


def index_differences(path: Path) -> Entries:
    """The entries that an index has and should not have, or the other way round."""
    with closing(sqlite3.connect(path)) as connection:
        found = {table: _entries(connection, "main", table) for table in _TABLES}
        expected = {table: _expected(connection, table) for table in _TABLES}
    differences: Entries = Counter()
    for table in _TABLES:
        differences += found[table] - expected[table]
        differences += expected[table] - found[table]
    return differences


def indexed_rows(path: Path, table: str) -> set[int]:
    """The ids of the rows that the index has anything of."""
    with closing(sqlite3.connect(path)) as connection:
        return {entry[1] for entry in _entries(connection, "main", table)}


def _entries(connection: sqlite3.Connection, schema: str, table: str) -> Entries:
    connection.execute(
        f"CREATE VIRTUAL TABLE temp.seen USING fts5vocab({schema}, {table}, instance)"
    )
    rows = connection.execute("SELECT term, doc, col, offset FROM temp.seen").fetchall()
    connection.execute("DROP TABLE temp.seen")
    return Counter(rows)


def _expected(connection: sqlite3.Connection, table: str) -> Entries:
    """The entries of an index like `table` that has just been filled with what it should have."""
    [sql] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    connection.execute(sql.replace(table, "temp.built", 1).replace("'system_log_terms'", "''"))
    [last] = connection.execute("SELECT coalesce(max(last_id), 0) FROM system_log_moves").fetchone()
    if table == "system_log_index":
        connection.execute(
            "INSERT INTO temp.built (rowid, message, labels)"
            " SELECT id, message, labels FROM system_log_terms WHERE id <= ? ORDER BY id",
            (last,),
        )
    else:
        logs = connection.execute(
            "SELECT id, message, level_no, component, correlation_id, project_id, agent_run_id"
            " FROM system_logs WHERE id > ? ORDER BY id",
            (last,),
        )
        connection.executemany(
            "INSERT INTO temp.built (rowid, message, labels) VALUES (?, ?, ?)",
            [(id, indexed_text(message), labels_of(*traits)) for id, message, *traits in logs],
        )
    entries = _entries(connection, "temp", "built")
    connection.execute("DROP TABLE temp.built")
    return entries
