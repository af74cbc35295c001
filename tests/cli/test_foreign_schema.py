"""A database with triggers, views or tables that are not ours is refused before any of them can
run."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import connect

import pytest

from backend.crypto.keyring import generate_master_key
from database.migrator import load_migrations, migrate
from tests.cli.commands import OF_AN_INSTALLATION, call
from tests.cli.conftest import Command, Install
from tests.support.processes import document

KEY = generate_master_key("first")
FILE = "strongroom.db"


@dataclass(frozen=True)
class Tampering:
    """A change of the schema, and the words that the refusal names it with."""

    told: str
    statements: tuple[str, ...]


def _by_hand(kind: str, name: str, table: str, sql: str) -> tuple[str, ...]:
    """The statements that insert any row into SQLite's schema table."""
    texts = ", ".join("'" + text.replace("'", "''") + "'" for text in (kind, name, table))
    sql = sql.replace("'", "''")
    return (
        "PRAGMA writable_schema = ON",
        f"INSERT INTO sqlite_schema VALUES ({texts}, 0, '{sql}')",  # noqa: S608
    )


def _trigger(name: str, event: str, effect: str) -> str:
    return f"CREATE TRIGGER {name} {event} BEGIN {effect}; END"


CLEAN = "DELETE FROM audit_entries"
EVIL = _trigger("evil", "AFTER INSERT ON audit_entries", CLEAN)
DISGUISED = f"UPDATE sqlite_schema SET sql = '{EVIL}' WHERE name = 'sqlite_sequence'"  # noqa: S608
RENAMED = "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'api_tokens'"
TAMPERINGS = {
    "a trigger that deletes the audit": Tampering(
        "trigger evil does not belong to this program", (EVIL,)
    ),
    "a trigger that makes tokens admin": Tampering(
        "trigger raise does not belong to this program",
        (
            _trigger(
                "raise", "AFTER INSERT ON api_tokens", "UPDATE api_tokens SET scopes = 'admin'"
            ),
        ),
    ),
    "a trigger on the table of migrations": Tampering(
        "trigger migrated does not belong to this program",
        (_trigger("migrated", "AFTER INSERT ON schema_migrations", CLEAN),),
    ),
    "a trigger of ours that does something else": Tampering(
        "trigger projects_remove_logs differs from the migrations",
        (
            "DROP TRIGGER projects_remove_logs",
            _trigger("projects_remove_logs", "AFTER DELETE ON projects", "SELECT 1"),
        ),
    ),
    "a trigger less": Tampering(
        "trigger projects_remove_logs is missing", ("DROP TRIGGER projects_remove_logs",)
    ),
    "a view": Tampering(
        "view mine does not belong to this program", ("CREATE VIEW mine AS SELECT 1 AS one",)
    ),
    "a view with a trigger": Tampering(
        "trigger through does not belong to this program",
        (
            "CREATE VIEW mine AS SELECT 1 AS one",
            _trigger("through", "INSTEAD OF INSERT ON mine", CLEAN),
        ),
    ),
    "a table": Tampering(
        "table extra does not belong to this program", ("CREATE TABLE extra (id)",)
    ),
    "a virtual table": Tampering(
        "table words does not belong to this program",
        ("CREATE VIRTUAL TABLE words USING fts5(word)",),
    ),
    "a column": Tampering(
        "table projects differs", ("ALTER TABLE projects ADD COLUMN extra TEXT",)
    ),
    "a column less strict": Tampering(
        "table api_tokens differs", ("PRAGMA writable_schema = ON", RENAMED)
    ),
    "an index": Tampering(
        "index mine does not belong to this program",
        ("CREATE UNIQUE INDEX mine ON projects (name)",),
    ),
    "an index less": Tampering(
        "index projects_by_name is missing", ("DROP INDEX projects_by_name",)
    ),
    "a trigger under a name of SQLite's": Tampering(
        "trigger sqlite_evil does not belong to this program",
        _by_hand("trigger", "sqlite_evil", "audit_entries", EVIL.replace("evil", "sqlite_evil")),
    ),
    # SQLite itself detects this one.
    "a trigger that says it is SQLite's own table": Tampering(
        "the database file is damaged",
        (
            "PRAGMA writable_schema = ON",
            DISGUISED,
        ),
    ),
    "a view under a name of Litestream's": Tampering(
        "view _litestream_seq does not belong to this program",
        ("CREATE VIEW _litestream_seq AS SELECT 1 AS id, 2 AS seq",),
    ),
    "a trigger on a table of Litestream's": Tampering(
        "trigger _litestream_lock does not belong to this program",
        (
            "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
            _trigger("_litestream_lock", "AFTER INSERT ON projects", CLEAN),
        ),
    ),
    "a name that steers the terminal": Tampering(
        r"view \x1b[2Jclean\n does not belong to this program",
        ('CREATE VIEW "\x1b[2Jclean\n" AS SELECT 1 AS one',),
    ),
}


@pytest.fixture
def installation(install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a project under the key `first`."""
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", KEY)
    return install([document(1)])


def _tamper(file: Path, tampering: Tampering) -> None:
    with closing(connect(file, isolation_level=None)) as connection:
        # Some builds of SQLite don't trust the schema by default, and refuse these statements.
        connection.execute("PRAGMA trusted_schema = ON")
        for statement in tampering.statements:
            connection.execute(statement)


OPENING = sorted(set(OF_AN_INSTALLATION) - {"keys generate", "demo", "restore"})
"""Every command that opens an installation."""


@pytest.mark.parametrize("name", OPENING)
def test_a_foreign_trigger_is_refused_by_every_command(
    command: Command, installation: Path, name: str
) -> None:
    tampering = TAMPERINGS["a trigger that deletes the audit"]
    _tamper(installation / FILE, tampering)
    before = (installation / FILE).read_bytes()
    outcome = command(*call(name, "--data-dir", str(installation)))
    assert outcome.status == 1
    assert tampering.told in outcome.complaint
    if name == "migrate":
        assert command(*call(name, "--check", "--data-dir", str(installation))) == outcome
    assert (installation / FILE).read_bytes() == before
    left = {"out.jsonl", "audit.jsonl", "copy.db"} & {p.name for p in installation.parent.iterdir()}
    assert left == set()


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_is_not_ours_is_refused_and_named(
    command: Command, installation: Path, tmp_path: Path, name: str
) -> None:
    tampering = TAMPERINGS[name]
    backup = tmp_path / "backup.db"
    assert command("backup", backup, "--data-dir", installation).status == 0
    _tamper(backup, tampering)
    restored = command("restore", backup, "--data-dir", tmp_path / "restored")
    shutil.copyfile(backup, installation / FILE)
    for outcome in (
        restored,
        command("serve", "--port", "0", "--data-dir", installation),
        command("verify", "--data-dir", installation),
    ):
        assert outcome.status == 1
        assert tampering.told in outcome.complaint
    assert not (tmp_path / "restored" / FILE).exists()


def _old_database(directory: Path, version: int) -> Path:
    directory.mkdir()
    path = directory / FILE
    with closing(connect(path, isolation_level=None)) as connection:
        migrate(connection, load_migrations()[:version])
    return path


@pytest.mark.parametrize("version", range(len(load_migrations())))
def test_an_older_schema_is_held_to_its_own_version(
    command: Command, directory: Path, version: int
) -> None:
    path = _old_database(directory, version)
    assert command("migrate", "--check", "--data-dir", directory).status == 1
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT 1 AS one")
    for line in (("migrate",), ("migrate", "--check"), ("serve", "--port", "0")):
        outcome = command(*line, "--data-dir", directory)
        assert outcome.status == 1
        assert "view mine does not belong to this program" in outcome.complaint
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("DROP VIEW mine")
    assert command("migrate", "--data-dir", directory).status == 0


def _analyze(path: Path) -> None:
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("ANALYZE")


def _replicate(path: Path) -> None:
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)"
        )


@pytest.mark.parametrize("add", [_analyze, _replicate])
def test_what_sqlite_and_litestream_add_is_no_change(
    command: Command, installation: Path, add: Callable[[Path], None]
) -> None:
    add(installation / FILE)
    assert command("verify", "--data-dir", installation).status == 0
    assert command("migrate", "--data-dir", installation).status == 0
