"""Migrating a database to the schema of this version of the code.

`python -m database.migrator --dump-schema` prints the schema after all migrations.
"""

import argparse
import hashlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from database.errors import DatabaseError, MigrationError, translate
from database.json_texts import same_json
from database.text_keys import text_key

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9]+(?:_[a-z0-9]+)*\.sql")
_BLANK = re.compile(r"(?:\s|--[^\n]*+|/\*(?>.*?\*/))*+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]*")
_REFUSED = frozenset(
    {"ATTACH", "BEGIN", "COMMIT", "DETACH", "END", "PRAGMA"}
    | {"RELEASE", "ROLLBACK", "SAVEPOINT", "VACUUM"}
)

_CREATE_RECORDS = """CREATE TABLE schema_migrations (
    version INTEGER PRIMARY KEY CHECK (version >= 1),
    name TEXT NOT NULL,
    checksum TEXT NOT NULL CHECK (length(checksum) = 64),
    applied_at TEXT NOT NULL CHECK (applied_at LIKE '____-__-__T__:__:__.______Z')
) STRICT"""


class InvalidMigrationsError(MigrationError):
    """The migration files themselves are wrong: a bad name, a gap, an incomplete statement."""


class EditedMigrationError(MigrationError):
    """An applied migration differs from the code's migration with the same number."""


class SchemaTooNewError(MigrationError):
    """The database was migrated by a newer version than this one."""


class ForeignDatabaseError(MigrationError):
    """The file has tables, but this program never migrated it."""


class MigrationFailedError(MigrationError):
    """A migration could not be applied; the database is as it was before that migration."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema's history."""

    version: int
    name: str
    """The file's name without `.sql`: `0001_create_core_tables`."""
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256, in hex, of the text with all line ends converted to line feeds."""
        text = self.sql.replace("\r\n", "\n").replace("\r", "\n")
        return hashlib.sha256(text.encode()).hexdigest()

    def statements(self) -> list[str]:
        """The statements in order. A trigger is one statement.

        Raises `InvalidMigrationsError` when the last statement is incomplete, and for a statement
        that would end the migration's transaction or has no effect inside it.
        """
        statements = list(_split(self.sql))
        for number, statement in enumerate(statements, 1):
            word = _WORD.match(statement)
            if word and word[0].upper() in _REFUSED:
                raise InvalidMigrationsError(
                    f"migration {self.name}: statement {number} is {word[0].upper()}, which a "
                    "migration can't contain"
                )
            if not sqlite3.complete_statement(statement):
                raise InvalidMigrationsError(
                    f"migration {self.name}: its last statement is incomplete"
                )
        return statements


def load_migrations(directory: Traversable | None = None) -> list[Migration]:
    """The migrations in `directory`, in order; by default those of the `migrations` package.

    Raises `InvalidMigrationsError` for an SQL file with a malformed name, and unless the numbers
    are 1, 2, … each once.
    """
    return list(_own_migrations()) if directory is None else _load(directory)


@cache
def _own_migrations() -> tuple[Migration, ...]:
    # Cached because a start loads them several times.
    return tuple(_load(resources.files("migrations")))


def _load(directory: Traversable) -> list[Migration]:
    found = []
    for file in directory.iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise InvalidMigrationsError(
                f"{file.name} is not a valid migration name: it must look like 0001_verb_noun.sql"
            )
        name = file.name.removesuffix(".sql")
        found.append(Migration(int(match[1]), name, file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.name)
    _check_numbers(found)
    return found


def pending(
    connection: sqlite3.Connection, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """The migrations that the database does not have yet, in order. Changes nothing.

    Raises `SchemaTooNewError`, `EditedMigrationError` or `ForeignDatabaseError` when the database
    does not match the migrations, `DatabaseError` when it can't be read.
    """
    known = _known(migrations)
    try:
        applied = _applied(connection)
    except sqlite3.Error as error:
        raise translate(error) from None
    newest = max(applied, default=0)
    if newest > len(known):
        raise SchemaTooNewError(
            f"the database has schema version {newest}, but this program knows versions up to "
            f"{len(known)}: run the version of the program that last used the database, or a "
            "newer one"
        )
    for migration in known[:newest]:
        if applied.get(migration.version) != migration.checksum:
            raise EditedMigrationError(
                f"the database was migrated by a different version of {migration.name}, and "
                "released migrations never change: reinstall the program"
            )
    return known[newest:]


def migrate(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration] | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[str]:
    """Apply the pending migrations, each in one transaction with its record.

    Returns the names of the applied migrations, in order. `connection` must autocommit
    (`isolation_level=None`). Each migration is atomic, even after a crash. Raises the errors of
    `pending`, `InvalidMigrationsError` before the first change, `MigrationFailedError` when a
    statement fails or a foreign key would be broken, and another `DatabaseError` when the file
    can't be locked or written.
    """
    known = _known(migrations)
    steps = [(migration, migration.statements()) for migration in pending(connection, known)]
    applied: list[str] = []
    if not steps:
        return applied
    for function in (text_key, same_json):
        connection.create_function(function.__name__, 1, function, deterministic=True)
    enforced = connection.execute("PRAGMA foreign_keys").fetchone()[0]
    # A migration that replaces a table drops the old one, which would delete the rows that refer
    # to it. So enforcement is off, and all references are checked before the commit.
    _execute(connection, "PRAGMA foreign_keys = OFF")
    try:
        for migration, statements in steps:
            if _apply(connection, known, migration, statements, now):
                applied.append(migration.name)
    finally:
        _execute(connection, f"PRAGMA foreign_keys = {enforced}")
    return applied


def dump_schema(connection: sqlite3.Connection) -> str:
    """The schema as SQL in a canonical form: tables by name, each with its indexes and triggers."""
    rows = connection.execute(
        "SELECT tbl_name, type, name, sql FROM sqlite_schema "
        "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')"
    ).fetchall()
    order = {"table": 0, "index": 1, "trigger": 2, "view": 3}
    # A view may need any table, so views come last.
    rows.sort(key=lambda row: (row[1] == "view", row[0], order[row[1]], row[2]))
    return "\n\n".join(f"{_without_trailing_space(row[3])};" for row in rows) + "\n"


def _known(migrations: Sequence[Migration] | None) -> list[Migration]:
    if migrations is None:
        return load_migrations()
    _check_numbers(migrations)
    return list(migrations)


def _check_numbers(migrations: Sequence[Migration]) -> None:
    for expected, migration in enumerate(migrations, 1):
        if migration.version != expected:
            raise InvalidMigrationsError(
                f"migration {migration.name} stands where number {expected:04} belongs: "
                "the numbers must be 0001, 0002, … each once"
            )


def _split(sql: str) -> Iterator[str]:
    """The statements without the comments before them, and the incomplete rest if there is one."""
    statement = ""
    for part in re.split("(?<=;)", sql):
        statement += part
        if sqlite3.complete_statement(statement):
            yield _from_first_word(statement)
            statement = ""
    if rest := _from_first_word(statement):
        yield rest


def _from_first_word(statement: str) -> str:
    blank = _BLANK.match(statement)
    return statement[blank.end() if blank else 0 :].rstrip()


def _execute(connection: sqlite3.Connection, sql: str, params: Sequence[str | int] = ()) -> None:
    try:
        connection.execute(sql, params).close()
    except sqlite3.Error as error:
        raise translate(error) from None


def _applied(connection: sqlite3.Connection) -> dict[int, str]:
    tables = {
        row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    if "schema_migrations" in tables:
        return dict(
            tuple(row)
            for row in connection.execute("SELECT version, checksum FROM schema_migrations")
        )
    if tables:
        raise ForeignDatabaseError(
            "the database file belongs to another program: choose another data directory"
        )
    return {}


def _apply(
    connection: sqlite3.Connection,
    known: Sequence[Migration],
    migration: Migration,
    statements: Sequence[str],
    now: Callable[[], datetime],
) -> bool:
    """Apply a migration. Returns False if another process has applied it first."""
    _execute(connection, "BEGIN IMMEDIATE")
    try:
        if migration not in pending(connection, known):
            return False
        _run(connection, migration, statements)
        _check_references(connection, migration)
        _record(connection, migration, now())
        _execute(connection, "COMMIT")
    finally:
        # Some errors, such as a full disk, have already ended the transaction.
        if connection.in_transaction:
            _execute(connection, "ROLLBACK")
    return True


def _run(connection: sqlite3.Connection, migration: Migration, statements: Sequence[str]) -> None:
    for number, statement in enumerate(statements, 1):
        try:
            _execute(connection, statement)
        except DatabaseError as error:
            raise MigrationFailedError(
                f"migration {migration.name} failed at statement {number} and was undone: {error}"
            ) from error


def _check_references(connection: sqlite3.Connection, migration: Migration) -> None:
    row = connection.execute("PRAGMA foreign_key_check").fetchone()
    if row is not None:
        raise MigrationFailedError(
            f"migration {migration.name} was undone: a row of {row[0]} would refer to a row of "
            f"{row[2]} that does not exist"
        )


def _record(connection: sqlite3.Connection, migration: Migration, now: datetime) -> None:
    if migration.version == 1:
        _execute(connection, _CREATE_RECORDS)
    applied_at = now.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    _execute(
        connection,
        "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
        (migration.version, migration.name, migration.checksum, applied_at),
    )


def _without_trailing_space(sql: str) -> str:
    return "\n".join(line.rstrip() for line in sql.splitlines())


def _main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m database.migrator")
    parser.add_argument("--dump-schema", action="store_true", required=True)
    parser.parse_args(arguments)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection)
        sys.stdout.write(
            "-- The whole schema, as the migrations make it. Written by `make schema`.\n\n"
            + dump_schema(connection)
        )
    finally:
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(_main())
