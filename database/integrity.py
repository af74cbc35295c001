"""Whether a database file is whole, looked at without changing anything."""

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from database.errors import DatabaseBusy, MigrationError, translate
from database.migrator import migrate, pending

T = TypeVar("T")
Check = Callable[[sqlite3.Connection], str | None]
Objects = dict[tuple[str, str], str]

WAL_RESET_DEFECT = (
    "this version can damage a database when one connection copies the log into the file while "
    "another writes; Strongroom never does both at once, so let no other program open the file "
    "(fixed in SQLite 3.51.3, 3.50.7 and 3.44.6)"
)


def sqlite_version() -> str:
    """The version of the SQLite library in use."""
    return sqlite3.sqlite_version


def has_wal_reset_defect(version: str = sqlite3.sqlite_version) -> bool:
    """Whether this SQLite version is one of those that `WAL_RESET_DEFECT` is about."""
    number = tuple(int(part) for part in version.split("."))
    fixed = number >= (3, 51, 3) or any(
        first <= number < (*first[:2], 1000) for first in ((3, 50, 7), (3, 44, 6))
    )
    return number >= (3, 7, 0) and not fixed


def file_problem(connection: sqlite3.Connection) -> str | None:
    """The first thing wrong with the pages, tables and indexes of the file; None when all is well.

    Reads the whole file. Raises `DatabaseError` when it can't be read on.
    """
    row = _read(lambda: connection.execute("PRAGMA integrity_check(1)").fetchone())
    text = str(row[0]) if row is not None else "there was no answer"
    return None if text == "ok" else " ".join(text.split())


def quick_problem(connection: sqlite3.Connection, seconds: float) -> str | None:
    """The first thing wrong with the pages and tables; None when all is well. Indexes are not
    compared with their tables, which would take several times as long.

    Raises `TimeoutError` when it is not done after `seconds`, and `DatabaseError` when the file
    can't be read on. SQLite before 3.41 ends a table first.
    """
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        row = _read(lambda: connection.execute("PRAGMA quick_check(1)").fetchone())
    except DatabaseBusy:
        raise TimeoutError from None
    finally:
        timer.cancel()
        # It must not reach the next statement of this connection.
        timer.join()
    text = str(row[0]) if row is not None else "there was no answer"
    return None if text == "ok" else " ".join(text.split())


def reference_problem(connection: sqlite3.Connection) -> str | None:
    """The first row that refers to one that does not exist; None when there is none.

    Raises `DatabaseError`.
    """
    row = _read(lambda: connection.execute("PRAGMA foreign_key_check").fetchone())
    if row is None:
        return None
    return f"row {row[1]} of {row[0]} refers to a row of {row[2]} that does not exist"


def schema_problem(connection: sqlite3.Connection) -> str | None:
    """How the schema first differs from the one that all migrations make; None when it does not.

    Raises `DatabaseError` when the file can't be read.
    """
    try:
        waiting = pending(connection)
    except MigrationError as error:
        return str(error)
    if waiting:
        return f"migration {waiting[0].name} is pending: strongroom migrate applies it"
    expected, found = _expected_objects(), _objects(connection)
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            kind, name = key
            how = "is missing" if key not in found else "is not of this program"
            if key in expected and key in found:
                how = "differs from what the migrations make"
            return f"{kind} {name} {how}: restore a backup"
    return None


def _expected_objects() -> Objects:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection)
        return _objects(connection)
    finally:
        connection.close()


def _objects(connection: sqlite3.Connection) -> Objects:
    # What SQLite keeps for itself, such as statistics, has no SQL or a reserved name.
    rows = _read(
        lambda: connection.execute(
            "SELECT type, name, sql FROM sqlite_schema"
            " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            # Litestream marks what it replicates.
            " AND name NOT IN ('_litestream_lock', '_litestream_seq')"
        ).fetchall()
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _read(query: Callable[[], T]) -> T:
    try:
        return query()
    except sqlite3.Error as error:
        raise translate(error) from None


FILE_CHECKS: tuple[tuple[str, Check], ...] = (
    ("file", file_problem),
    ("references", reference_problem),
    ("schema", schema_problem),
)
"""Everything that can be told without knowing what the rows mean, by name."""
