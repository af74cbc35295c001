"""Read-only checks of the integrity of a database file."""

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from database.errors import DatabaseBusy, MigrationError, translate
from database.migrator import Migration, load_migrations, migrate, pending
from database.sqlite.check_progress import OnShare, nothing_told, told_progress

T = TypeVar("T")
Check = Callable[[sqlite3.Connection, OnShare], str | None]
Objects = dict[tuple[str, str], list[tuple[str, str]]]

_SHOWN_LENGTH = 80

WAL_RESET_DEFECT = (
    "this version can damage a database when one connection copies the log into the file while "
    "another writes; Strongroom never does both at once, so do not let another program open the "
    "file "
    "(fixed in SQLite 3.51.3, 3.50.7 and 3.44.6)"
)


def sqlite_version() -> str:
    """The version of the SQLite library in use."""
    return sqlite3.sqlite_version


def has_wal_reset_defect(version: str = sqlite3.sqlite_version) -> bool:
    """Whether this SQLite version has the defect that `WAL_RESET_DEFECT` describes."""
    number = tuple(int(part) for part in version.split("."))
    fixed = number >= (3, 51, 3) or any(
        first <= number < (*first[:2], 1000) for first in ((3, 50, 7), (3, 44, 6))
    )
    return number >= (3, 7, 0) and not fixed


def file_problem(connection: sqlite3.Connection, on_share: OnShare = nothing_told) -> str | None:
    """The first problem in the pages, tables and indexes of the file; None without a problem.

    Reads the whole file, and tells `on_share` how far it is. Raises `DatabaseError` when it can't
    be read.
    """
    row = _read(lambda: _told(connection, "PRAGMA integrity_check(1)", on_share, reads_pages=True))
    text = str(row[0]) if row is not None else "SQLite gave no answer"
    return None if text == "ok" else " ".join(text.split())


def quick_problem(connection: sqlite3.Connection, seconds: float) -> str | None:
    """The first problem in the pages and tables; None without a problem. Indexes are not compared
    with their tables, which would take several times as long.

    Raises `TimeoutError` after `seconds`, and `DatabaseError` when the file can't be read. SQLite
    before 3.41 finishes the current table before it stops.
    """
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        row = _read(lambda: connection.execute("PRAGMA quick_check(1)").fetchone())
    except DatabaseBusy:
        raise TimeoutError from None
    finally:
        timer.cancel()
        # The interrupt must not reach the next statement of this connection.
        timer.join()
    text = str(row[0]) if row is not None else "SQLite gave no answer"
    return None if text == "ok" else " ".join(text.split())


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether the database has any tables. Raises `DatabaseError`."""
    row = _read(lambda: connection.execute("SELECT count(*) FROM sqlite_schema").fetchone())
    return bool(row is not None and row[0])


def reference_problem(
    connection: sqlite3.Connection, on_share: OnShare = nothing_told
) -> str | None:
    """The first row that refers to a missing row; None without a problem. Tells `on_share` how far
    it is.

    Raises `DatabaseError`.
    """
    row = _read(lambda: _told(connection, "PRAGMA foreign_key_check", on_share, reads_pages=False))
    if row is None:
        return None
    return f"row {row[1]} of {row[0]} refers to a row of {row[2]} that does not exist"


def schema_problem(
    connection: sqlite3.Connection,
    on_share: OnShare = nothing_told,  # noqa: ARG001 - of `Check`
) -> str | None:
    """The first difference from the schema after all migrations; None without a difference.

    Raises `DatabaseError` when the file can't be read.
    """
    try:
        foreign = foreign_object(connection)
        waiting = pending(connection)
    except MigrationError as error:
        return str(error)
    if foreign is not None:
        return f"{foreign}: restore a backup"
    if waiting:
        return f"migration {waiting[0].name} is pending: run strongroom migrate"
    return None


def foreign_object(connection: sqlite3.Connection) -> str | None:
    """The first difference from the schema after the database's own migrations; None without a
    difference.

    Reads only SQLite's schema table, so that no trigger or view of the file runs. Raises
    `MigrationError` when the database does not match the migrations, and `DatabaseError` when the
    file can't be read.
    """
    known = load_migrations()
    expected = _expected_objects(tuple(known[: len(known) - len(pending(connection, known))]))
    found = _objects(connection)
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) == found.get(key):
            continue
        if key not in found:
            how = "is missing"
        elif key not in expected:
            how = "does not belong to this program"
        else:
            how = "differs from the migrations"
        return f"{_shown(key[0])} {_shown(key[1])} {how}"
    return None


@cache
def _expected_objects(migrations: tuple[Migration, ...]) -> Objects:
    # Cached because it takes as long as all other checks of a start.
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, migrations)
        return _objects(connection)
    finally:
        connection.close()


def _objects(connection: sqlite3.Connection) -> Objects:
    """Every row of the schema by type and name, without those that SQLite and Litestream add.

    An object is ignored only if its SQL matches too, because SQLite reads an object from its SQL,
    whatever its type and name columns say.
    """
    objects: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    rows = _read(
        lambda: connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid"
        ).fetchall()
    )
    for row in rows:
        kind, name, table, sql = (str(value) for value in row)
        if (kind, name, sql) in _ADDED_BY_OTHERS and table == name:
            continue
        # The index of a PRIMARY KEY or UNIQUE constraint, which its table's SQL contains.
        if kind == "index" and row[3] is None and name.startswith("sqlite_autoindex_"):
            continue
        objects[kind, name].append((table, sql))
    return dict(objects)


_ADDED_BY_OTHERS = frozenset(
    {
        ("table", "sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)"),
        ("table", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
        ("table", "sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
        # Litestream adds these to databases that it replicates.
        ("table", "_litestream_lock", "CREATE TABLE _litestream_lock (id INTEGER)"),
        (
            "table",
            "_litestream_seq",
            "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
        ),
    }
)


def _told(
    connection: sqlite3.Connection, statement: str, on_share: OnShare, *, reads_pages: bool
) -> Any:
    """The first row of the statement."""
    with told_progress(connection, statement, on_share, reads_pages=reads_pages):
        return connection.execute(statement).fetchone()


def _shown(name: str) -> str:
    """An untrusted name in a form that is safe in a message."""
    short = name if len(name) <= _SHOWN_LENGTH else f"{name[:_SHOWN_LENGTH]}…"
    return short if short.isprintable() else short.encode("unicode_escape").decode("ascii")


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
"""All checks that do not depend on the meaning of the rows, by name."""
