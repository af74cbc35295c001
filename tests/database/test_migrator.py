import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import migrator
from database.errors import DatabaseBusy, DatabaseCorrupt, MigrationError
from database.migrator import (
    EditedMigrationError,
    ForeignDatabaseError,
    InvalidMigrationsError,
    Migration,
    MigrationFailedError,
    SchemaTooNewError,
    dump_schema,
    load_migrations,
    migrate,
    pending,
)
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.database.sample_migrations import FIRST, REBUILD, query

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def second(sql: str) -> list[Migration]:
    return [FIRST, Migration(2, "0002_change_boxes", sql)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strongroom.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_connection(ConnectionConfig(path))) as connection:
        yield connection


def content(connection: sqlite3.Connection) -> list[str]:
    return list(connection.iterdump())


def test_an_empty_database_gets_every_migration_and_a_record_of_each(
    connection: sqlite3.Connection,
) -> None:
    assert migrate(connection, [FIRST, REBUILD], now=lambda: NOW) == [FIRST.name, REBUILD.name]
    assert query(connection, "SELECT * FROM schema_migrations ORDER BY version") == [
        (1, FIRST.name, FIRST.checksum, "2026-01-31T12:00:00.000000Z"),
        (2, REBUILD.name, REBUILD.checksum, "2026-01-31T12:00:00.000000Z"),
    ]
    assert pending(connection, [FIRST, REBUILD]) == []
    before = content(connection)
    assert migrate(connection, [FIRST, REBUILD]) == []
    assert content(connection) == before


def test_the_released_migrations_apply_and_say_what_is_pending(
    connection: sqlite3.Connection,
) -> None:
    released = load_migrations()
    assert pending(connection) == released
    assert migrate(connection) == [migration.name for migration in released]
    assert pending(connection) == []


def test_strings_comments_and_triggers_do_not_break_statements(
    connection: sqlite3.Connection,
) -> None:
    assert [len(migration.statements()) for migration in (FIRST, REBUILD)] == [4, 5]
    migrate(connection, [FIRST, REBUILD])
    connection.execute("INSERT INTO boxes (id, name) VALUES (3, 'three')")
    assert query(connection, "SELECT * FROM boxes ORDER BY id") == [
        (1, "one; or two", None),
        (2, "it's", None),
        (3, "three", 1),
    ]


def test_rebuilding_a_parent_table_keeps_its_children(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST, REBUILD])
    assert query(connection, "SELECT * FROM things ORDER BY id") == [(10, 1), (20, 2)]
    connection.execute("DELETE FROM boxes WHERE id = 1")
    assert query(connection, "SELECT * FROM things") == [(20, 2)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO boxes VALUES (3, 'x'); ALTER TABLE boxes ADD COLUMN a; SELECT * FROM nothing;",
        "CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT; INSERT INTO boxes VALUES (1, 'again');",
        "DROP TABLE things; UPDATE boxes SET name = NULL;",
    ],
)
def test_a_migration_that_fails_half_way_leaves_the_old_schema(
    connection: sqlite3.Connection, sql: str
) -> None:
    migrate(connection, [FIRST])
    before = content(connection)
    with pytest.raises(MigrationFailedError, match=r"0002_change_boxes failed at statement [23]"):
        migrate(connection, second(sql))
    assert not connection.in_transaction
    assert content(connection) == before
    assert query(connection, "PRAGMA foreign_keys") == [(1,)]
    assert migrate(connection, [FIRST, REBUILD]) == [REBUILD.name]


def test_a_first_migration_that_fails_leaves_nothing(connection: sqlite3.Connection) -> None:
    broken = Migration(1, "0001_break", FIRST.sql + "DROP TABLE nothing;")
    with pytest.raises(MigrationFailedError):
        migrate(connection, [broken])
    assert query(connection, "SELECT name FROM sqlite_schema") == []
    assert migrate(connection, [FIRST]) == [FIRST.name]


def test_a_full_disk_leaves_the_old_schema(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    before = content(connection)
    connection.execute("PRAGMA max_page_count = 12").close()
    with pytest.raises(MigrationFailedError, match="SQLITE_FULL"):
        migrate(connection, second("CREATE TABLE big (x); INSERT INTO big SELECT zeroblob(99999);"))
    assert not connection.in_transaction
    assert content(connection) == before


def test_a_reference_that_leads_nowhere_undoes_the_migration(
    connection: sqlite3.Connection,
) -> None:
    migrate(connection, [FIRST])
    before = content(connection)
    with pytest.raises(MigrationFailedError, match="a row of things would refer to a row of boxes"):
        migrate(connection, second("DELETE FROM boxes WHERE id = 1;"))
    assert content(connection) == before


def test_the_setting_of_foreign_keys_is_given_back(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    assert query(connection, "PRAGMA foreign_keys") == [(1,)]
    connection.execute("PRAGMA foreign_keys = OFF").close()
    migrate(connection, [FIRST, REBUILD])
    assert query(connection, "PRAGMA foreign_keys") == [(0,)]


def test_an_edited_migration_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    before = content(connection)
    edited = Migration(1, FIRST.name, FIRST.sql.replace("name TEXT NOT NULL", "name TEXT"))
    for call in (pending, migrate):
        with pytest.raises(EditedMigrationError, match="0001_create_boxes"):
            call(connection, [edited, REBUILD])
    assert content(connection) == before


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_other_line_ends_are_no_edit(connection: sqlite3.Connection, line_end: str) -> None:
    migrate(connection, [FIRST])
    other = Migration(1, FIRST.name, FIRST.sql.replace("\n", line_end))
    assert pending(connection, [other]) == []


def test_a_database_of_a_newer_version_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST, REBUILD])
    before = content(connection)
    for call in (pending, migrate):
        with pytest.raises(SchemaTooNewError, match=r"schema version 2, .* up to 1"):
            call(connection, [FIRST])
    assert content(connection) == before


def test_a_missing_record_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST, REBUILD])
    connection.execute("DELETE FROM schema_migrations WHERE version = 1")
    with pytest.raises(EditedMigrationError):
        pending(connection, [FIRST, REBUILD])


def test_the_database_of_another_program_is_refused(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE theirs (id)")
    with pytest.raises(ForeignDatabaseError, match="another program"):
        migrate(connection, [FIRST])
    assert query(connection, "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 100)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        pytest.raises(DatabaseCorrupt),
    ):
        migrate(connection, [FIRST])


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT; BEGIN;",
        "CREATE TABLE a (b); /* now */ vacuum;",
        "-- Off.\nPRAGMA foreign_keys = OFF;",
        "CREATE TABLE a (b); ROLLBACK;",
        "SAVEPOINT a;",
    ],
)
def test_a_migration_can_not_leave_its_transaction(
    connection: sqlite3.Connection, sql: str
) -> None:
    with pytest.raises(InvalidMigrationsError, match="a migration can't contain"):
        migrate(connection, second(sql))
    assert query(connection, "SELECT name FROM sqlite_schema") == []


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE a (b)", "INSERT INTO boxes VALUES (3, 'x;", "CREATE TABLE a (b); /* open", "1"],
)
def test_a_statement_without_an_end_is_refused(connection: sqlite3.Connection, sql: str) -> None:
    with pytest.raises(InvalidMigrationsError, match="is incomplete"):
        migrate(connection, second(sql))
    assert query(connection, "SELECT name FROM sqlite_schema") == []


@pytest.mark.parametrize("sql", ["", " \n", "-- Nothing; here.", "/* ; */ -- x\n"])
def test_blank_text_has_no_statements(sql: str) -> None:
    assert Migration(1, "0001_do_nothing", sql).statements() == []


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0001_a.sql", "0003_c.sql"], "0003_c stands where number 0002 belongs"),
        (["0002_b.sql"], "0002_b stands where number 0001 belongs"),
        (["0001_a.sql", "0001_b.sql"], "0001_b stands where number 0002 belongs"),
        (["0001_a.sql", "2_b.sql"], "2_b.sql is not a valid migration name"),
        (["0001_a.sql", "0002-b.sql"], "0002-b.sql is not a valid migration name"),
    ],
)
def test_wrong_numbers_and_names_are_refused(
    tmp_path: Path, names: Sequence[str], complaint: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(InvalidMigrationsError, match=complaint):
        load_migrations(tmp_path)


def test_other_files_beside_migrations_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0002_b.sql").write_text("SELECT 2;")
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "__init__.py").write_text("")
    assert load_migrations(tmp_path) == [
        Migration(1, "0001_a", "SELECT 1;"),
        Migration(2, "0002_b", "SELECT 2;"),
    ]


def test_when_another_connection_comes_first_nothing_is_applied_twice(
    connection: sqlite3.Connection, path: Path
) -> None:
    first: list[str] = []

    def overtake(statement: str) -> None:
        if statement.startswith("BEGIN") and not first:
            with closing(open_connection(ConnectionConfig(path))) as other:
                first.extend(migrate(other, [FIRST, REBUILD]))

    connection.set_trace_callback(overtake)
    assert migrate(connection, [FIRST, REBUILD]) == []
    connection.set_trace_callback(None)
    assert first == [FIRST.name, REBUILD.name]
    assert query(connection, "SELECT count(*) FROM schema_migrations") == [(2,)]


def test_a_locked_database_is_busy_and_not_changed(
    connection: sqlite3.Connection, path: Path
) -> None:
    connection.execute("PRAGMA busy_timeout = 0").close()
    with closing(open_connection(ConnectionConfig(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            migrate(connection, [FIRST])
    assert migrate(connection, [FIRST]) == [FIRST.name]


def test_an_interruption_leaves_no_open_transaction(connection: sqlite3.Connection) -> None:
    def interrupt() -> datetime:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(connection, [FIRST], now=interrupt)
    assert not connection.in_transaction
    assert query(connection, "SELECT name FROM sqlite_schema") == []


def test_every_error_is_a_migration_error() -> None:
    for kind in (
        EditedMigrationError,
        ForeignDatabaseError,
        InvalidMigrationsError,
        MigrationFailedError,
        SchemaTooNewError,
    ):
        assert issubclass(kind, MigrationError)


def test_the_command_prints_the_schema_and_it_makes_the_same_again(
    capsys: pytest.CaptureFixture[str], connection: sqlite3.Connection
) -> None:
    assert migrator._main(["--dump-schema"]) == 0
    printed = capsys.readouterr().out
    migrate(connection)
    assert printed.endswith("\n\n" + dump_schema(connection))


def test_a_dump_leaves_out_what_sqlite_makes_for_itself(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (word)")
    connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE)   ")
    connection.execute("CREATE VIEW a_view AS SELECT 1")
    connection.execute("CREATE INDEX a_index ON a (\n  id  \n)")
    assert dump_schema(connection) == (
        "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE);\n\n"
        "CREATE INDEX a_index ON a (\n  id\n);\n\n"
        "CREATE VIRTUAL TABLE words USING fts5 (word);\n\n"
        "CREATE VIEW a_view AS SELECT 1;\n"
    )
