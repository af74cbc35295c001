"""Commits are counted by what they change: never too few, also for cascades and triggers."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from database.changes import TableVersion, any_change, changes_of_rows
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from database.sqlite.connection import ConnectionConfig, open_connection
from database.sqlite.table_versions import ANYTHING, ObservedConnection, TableVersions

SCHEMA = (
    "CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT UNIQUE) STRICT",
    """CREATE TABLE b (
        id INTEGER PRIMARY KEY, a_id INTEGER REFERENCES a (id) ON DELETE CASCADE
    ) STRICT""",
    """CREATE TABLE c (
        id INTEGER PRIMARY KEY,
        b_id INTEGER REFERENCES b (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
    ) STRICT""",
    "CREATE TABLE told (x TEXT) STRICT",
    "CREATE TRIGGER tell AFTER UPDATE ON c BEGIN INSERT INTO told VALUES (new.id); END",
)


@pytest.fixture
def config(tmp_path: Path) -> ConnectionConfig:
    config = ConnectionConfig(tmp_path / "changes.db")
    with closing(open_connection(config)) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
    return config


@pytest.fixture
def observed(config: ConnectionConfig) -> Iterator[ObservedConnection]:
    with closing(open_connection(config)) as connection:
        assert isinstance(connection, ObservedConnection)
        connection.take_changes()
        yield connection


STATEMENTS = [
    ("INSERT INTO a (x) VALUES (?)", ("n",), {("a", "insert")}),
    ("  insert into a (x) values (?) returning *", ("n",), {("a", "insert")}),
    ("WITH n (i) AS (SELECT ?) INSERT INTO a (x) SELECT i FROM n", ("n",), {("a", "insert")}),
    (
        "INSERT INTO a (x) VALUES (?) ON CONFLICT (x) DO UPDATE SET x = excluded.x",
        ("n",),
        {("a", "insert"), ("a", "update")},
    ),
    (
        "REPLACE INTO a (id, x) VALUES (?, 'z')",
        (1,),
        {
            *any_change("a")[::2],
            ("b", "delete"),
            ("c", "update"),
            # For each table with inserted rows: SQLite does not say in which of them rows were
            # replaced.
            *any_change("told")[::2],
        },
    ),
    ("UPDATE a SET x = 'y' WHERE id = ?", (1,), {("a", "update")}),
    (
        "DELETE FROM a WHERE id = ?",
        (1,),
        {("a", "delete"), ("b", "delete"), ("c", "update"), ("told", "insert")},
    ),
    ("DELETE FROM told", (), {("told", "delete")}),
    ("SELECT * FROM a WHERE id = ?", (1,), set()),
    ("WITH n (i) AS (SELECT ?) SELECT i FROM n", (1,), set()),
]


@pytest.mark.parametrize(("sql", "parameters", "changes"), STATEMENTS)
def test_a_statement_is_known_by_all_that_it_can_change(
    observed: ObservedConnection, sql: str, parameters: tuple[object, ...], changes: set[object]
) -> None:
    for _ in range(2):
        observed.execute("BEGIN")
        observed.execute(sql, parameters).close()
        observed.execute("ROLLBACK")
        assert observed.take_changes() == changes
        assert observed.take_changes() == set()


def test_a_statement_that_the_driver_has_compiled_before_is_known(
    observed: ObservedConnection,
) -> None:
    sql = "UPDATE a SET x = 'y' WHERE id = 1"
    sqlite3.Connection.execute(observed, sql).close()
    assert observed.take_changes() == set()
    observed.execute(sql)
    assert observed.take_changes() == {("a", "update")}


def test_statements_run_many_times_are_known(observed: ObservedConnection) -> None:
    sql = "INSERT INTO a (x) VALUES (?)"
    observed.executemany(sql, [])
    assert observed.take_changes() == set()
    observed.executemany(sql, ((str(number),) for number in range(3)))
    assert observed.take_changes() == {("a", "insert")}
    assert observed.execute("SELECT count(*) FROM a").fetchone()[0] == 3


def test_a_statement_that_failed_is_asked_about_again(observed: ObservedConnection) -> None:
    sql = "INSERT INTO later (x) VALUES (1)"
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        observed.execute(sql)
    assert observed.take_changes() == {ANYTHING}
    observed.execute("CREATE TABLE later (x INTEGER) STRICT")
    observed.take_changes()
    observed.execute(sql)
    assert observed.take_changes() == {("later", "insert")}


def test_a_trigger_that_is_made_later_is_known(observed: ObservedConnection) -> None:
    sql = "UPDATE a SET x = x"
    observed.execute(sql).close()
    observed.execute("CREATE TRIGGER later AFTER UPDATE ON a BEGIN DELETE FROM told; END").close()
    observed.take_changes()
    observed.execute(sql).close()
    assert observed.take_changes() == {("a", "update"), ("told", "delete")}


def test_a_trigger_that_comes_back_is_known(observed: ObservedConnection) -> None:
    sql = "UPDATE c SET b_id = NULL"
    observed.execute("BEGIN")
    observed.execute("DROP TRIGGER tell").close()
    observed.execute(sql).close()
    observed.execute("ROLLBACK")
    observed.take_changes()
    observed.execute("BEGIN")
    observed.execute(sql).close()
    assert observed.take_changes() == {("c", "update"), ("told", "insert")}
    observed.execute("ROLLBACK")


def test_more_statements_than_are_remembered(observed: ObservedConnection) -> None:
    for number in range(1100):
        observed.execute(f"UPDATE a SET x = 'y' WHERE id = {number}").close()  # noqa: S608
        assert observed.take_changes() == {("a", "update")}


def test_what_a_cursor_does_is_not_known(observed: ObservedConnection) -> None:
    observed.execute("SELECT 1").close()
    assert observed.take_changes() == set()
    observed.cursor().execute("DELETE FROM a")
    assert observed.take_changes() == {ANYTHING}
    versions = TableVersions()
    counted = versions.counting(any_change("b"))
    observed.cursor()
    with versions.committing(observed):
        assert counted.version is None


def test_an_empty_statement_changes_nothing(observed: ObservedConnection) -> None:
    observed.execute("").close()
    assert observed.take_changes() == set()


def test_a_script_is_refused(observed: ObservedConnection) -> None:
    with pytest.raises(sqlite3.ProgrammingError):
        observed.executescript("DELETE FROM a")


def test_a_connection_that_only_reads_is_an_ordinary_one(config: ConnectionConfig) -> None:
    with closing(open_connection(config, read_only=True)) as connection:
        assert type(connection) is sqlite3.Connection


class Versions:
    """The versions of new rows of `a`, of existing rows of `a`, and of `b`."""

    def __init__(self, manager: DatabaseManager) -> None:
        versions = manager.async_pool.table_versions
        self.new = versions.counting([("a", "insert")])
        self.rows = versions.counting(changes_of_rows("a"))
        self.b = versions.counting(any_change("b"))

    def moved(self) -> set[str]:
        """The names of those that counted a commit since the last call."""
        now = {name: counted.version for name, counted in self._named().items()}
        assert None not in now.values()
        before, self._before = self._before, now
        return {name for name in now if now[name] != before.get(name, 0)}

    _before: dict[str, int | None] = {}  # noqa: RUF012 - replaced, never changed

    def _named(self) -> dict[str, TableVersion]:
        return {"new": self.new, "rows": self.rows, "b": self.b}


async def test_each_way_to_commit_is_counted(config: ConnectionConfig) -> None:
    async with DatabaseManager(config) as manager:
        versions = Versions(manager)
        pool = manager.async_pool
        await pool.execute("INSERT INTO a (x) VALUES ('one')")
        assert versions.moved() == {"new"}
        await pool.execute_many("INSERT INTO a (x) VALUES (?)", [("two",), ("three",)])
        assert versions.moved() == {"new"}
        await pool.execute_returning("UPDATE a SET x = 'uno' WHERE id = 1 RETURNING *")
        assert versions.moved() == {"rows"}
        await pool.fetch_all("SELECT * FROM a")
        assert versions.moved() == set()

        async def unit() -> None:
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO b (a_id) VALUES (1)")

        await pool.run_unit(unit)
        assert versions.moved() == {"b"}
        async with pool.transaction() as tx:
            await tx.execute("DELETE FROM a WHERE id = 1")
            assert versions.moved() == set()
        assert versions.moved() == {"rows", "b"}
        await asyncio.to_thread(manager.execute_command, "INSERT INTO a (x) VALUES ('four')")
        assert versions.moved() == {"new"}
        await pool.run_alone(lambda raw: raw.execute("SELECT 1").close())
        assert versions.moved() == {"new", "rows", "b"}


async def test_while_a_commit_is_under_way_there_is_no_version(config: ConnectionConfig) -> None:
    async with DatabaseManager(config) as manager:
        versions = manager.async_pool.table_versions
        counted, other = versions.counting(any_change("a")), versions.counting(any_change("b"))
        with closing(open_connection(config)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO a (x) VALUES ('one')")
            assert (counted.version, other.version) == (0, 0)
            with versions.committing(connection):
                assert (counted.version, other.version) == (None, 0)
                connection.execute("COMMIT")
            assert (counted.version, other.version) == (2, 0)


async def test_a_commit_that_fails_is_counted_and_over(config: ConnectionConfig) -> None:
    async with DatabaseManager(config) as manager:
        counted = manager.async_pool.table_versions.counting(any_change("c"))
        # The COMMIT checks the foreign key.
        with pytest.raises(DatabaseError):
            await manager.async_pool.execute("INSERT INTO c (b_id) VALUES (99)")
        assert counted.version == 2


def test_a_connection_that_is_not_observed_may_have_changed_anything(
    config: ConnectionConfig,
) -> None:
    versions = DatabaseManager(config).async_pool.table_versions
    counted = versions.counting(any_change("a"))
    with closing(sqlite3.connect(config.path)) as connection, versions.committing(connection):
        assert counted.version is None
    assert counted.version == 2
