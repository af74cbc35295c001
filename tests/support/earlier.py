"""Makes an installation's database one of an earlier version."""

# ruff: noqa: S608 - the names are constants

import hmac
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from database.migrator import load_migrations

SA1_COLUMNS = (
    "id",
    "at",
    "actor",
    "actor_token_id",
    "action",
    "target",
    "project_id",
    "fields",
    "request_id",
)
SA2_COLUMNS = (*SA1_COLUMNS, "version", "digest", "address")
ORIGIN = "0" * 64
EXTEND_AUDIT, GUARD_ROWS = 11, 12
"""The migrations after which entries had the format sa2, and after which rows were guarded."""
INDEX_WORDS, INDEX_PROJECTS = 13, 14
"""The migrations after which the words of logs were split by the program, and after which projects
were indexed."""
KEEP_VERSIONS, INDEX_RUNS, KEEP_ATTEMPTS = 17, 18, 22
"""The migrations after which earlier versions were kept, runs were indexed, and attempts of tests
were kept."""
COUNT_PENDING, COUNT_RUNS = 6, 26
"""The migrations after which pending runs were counted, and runs of every status."""

MADE_BY_INDEX_RUNS = (
    "TABLE project_index_counts",
    "TABLE run_index_counts",
    "TABLE run_index_trigrams",
    "TABLE run_index",
    "VIEW run_index_texts",
    "TRIGGER agent_runs_remove_text",
    "TABLE run_index_removals",
    "TABLE run_index_state",
    "INDEX agent_runs_worker",
    "INDEX agent_runs_project_updated",
    "INDEX agent_runs_status_updated",
)
"""The kinds and names of what the migration `INDEX_RUNS` has made, besides a column."""
MADE_BY_INDEX_PROJECTS = (
    "TABLE project_index_trigrams",
    "TABLE project_index",
    "VIEW project_index_texts",
    "TABLE project_index_state",
)
"""The kinds and names of what the migration `INDEX_PROJECTS` has made."""

_MADE_BY_STORE_ANSWERS = ("stored_answer_projects", "stored_answers", "answer_keys")
"""The tables of the migration after it."""


def documented_mac(kind: str, previous: str, *values: str | int | None, key: bytes) -> str:
    """The MAC of a row as docs/security.md describes it, without our code."""

    def field(value: str | int | None) -> bytes:
        if value is None:
            return b"\xff\xff\xff\xff"
        data = str(value).encode()
        return len(data).to_bytes(4, "big") + data

    message = b"".join(map(field, (kind, previous, *values)))
    return hmac.new(key, message, "sha256").hexdigest()


def make_earlier(path: Path, key: bytes, *, before: int = GUARD_ROWS) -> None:
    """Take back the migrations from number `before` on, and what later versions recorded. `key` is
    the installation's key of the audit chain."""
    columns = SA2_COLUMNS if before > EXTEND_AUDIT else SA1_COLUMNS
    names = ", ".join((*columns, "mac"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        forget_words(connection)
        connection.execute("UPDATE audit_entries SET digest = NULL")
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM audit_entries"
            " WHERE action <> 'settings.created' AND action NOT LIKE 'rows.%' ORDER BY id"
        ).fetchall()
        connection.execute("DROP INDEX audit_entries_guarded")
        connection.execute("DROP TABLE audit_anchor")
        gone = {"previous_mac", *SA2_COLUMNS} - set(columns)
        for column in sorted(gone):
            connection.execute(f"ALTER TABLE audit_entries DROP COLUMN {column}")
        connection.execute("DELETE FROM audit_entries")
        mac = ORIGIN
        for id, row in enumerate(rows, 1):
            values = (id, *row[1:])
            mac = documented_mac("sa2" if before > EXTEND_AUDIT else "sa1", mac, *values, key=key)
            connection.execute(
                f"INSERT INTO audit_entries ({names}) VALUES ({', '.join('?' * len(values))}, ?)",
                (*values, mac),
            )
        connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (before,))
    path.with_name("audit.heads").unlink(missing_ok=True)


def forget_words(connection: sqlite3.Connection) -> None:
    """Take back the migrations from `INDEX_WORDS` on: all logs are in the earlier index."""
    forget_versions(connection)
    _forget_newest(connection)
    _drop_index(connection)
    connection.execute("DROP TABLE system_log_words")
    connection.execute("DROP TABLE system_log_moves")
    connection.execute("INSERT INTO system_log_index (system_log_index) VALUES ('delete-all')")
    connection.execute(
        "INSERT INTO system_log_index (rowid, message, labels)"
        " SELECT id, message, labels FROM system_log_terms ORDER BY id"
    )
    connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (INDEX_WORDS,))


def make_unindexed(path: Path) -> None:
    """Take back the migrations from `INDEX_PROJECTS` on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        forget_versions(connection)
        _forget_newest(connection)
        _drop_index(connection)
        connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (INDEX_PROJECTS,))


def make_unkept(path: Path, chain_key: bytes, digest_key: bytes) -> None:
    """Take back the migrations from `KEEP_VERSIONS` on, and sign the rows as before. The keys are
    those of the installation."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        forget_versions(connection)
        connection.row_factory = sqlite3.Row
        columns = ("id", *SA2_COLUMNS[1:])
        mac = ORIGIN
        for row in connection.execute("SELECT * FROM audit_entries ORDER BY id").fetchall():
            entry = dict(row)
            entry["digest"] = _digest_again(connection, entry, digest_key)
            values = (entry[name] for name in columns)
            mac = documented_mac("sa2", mac, *values, key=chain_key)
            connection.execute(
                "UPDATE audit_entries SET digest = ?, mac = ? WHERE id = ?",
                (entry["digest"], mac, entry["id"]),
            )
    path.with_name("audit.heads").unlink(missing_ok=True)


def _digest_again(
    connection: sqlite3.Connection, entry: dict[str, Any], digest_key: bytes
) -> str | None:
    """The digest of an entry for its row without later columns."""
    kinds = {
        "project_settings": "'projects/' || project_id || '/configuration'",
        "project_secrets": "'projects/' || project_id || '/secrets/' || key_name",
    }
    digest: str | None = entry["digest"]
    if digest is None:
        return None
    for table, target in kinds.items():
        row = connection.execute(
            f"SELECT * FROM {table} WHERE {target} = ?", (entry["target"],)
        ).fetchone()
        newest = connection.execute(
            "SELECT max(id) FROM audit_entries WHERE target = ? AND digest IS NOT NULL",
            (entry["target"],),
        ).fetchone()
        if row is not None and newest[0] == entry["id"]:
            parts = [table, entry["id"], entry["target"], entry["version"], list(row)]
            text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
            return "sd1:" + hmac.new(digest_key, text.encode(), "sha256").hexdigest()
    return digest


def forget_versions(connection: sqlite3.Connection) -> None:
    """Take back the migrations from `KEEP_VERSIONS` on. Digests that cover what it has added do not
    fit their rows any more."""
    forget_runs(connection)
    connection.execute("DROP TABLE secret_versions")
    connection.execute("DROP TABLE configuration_versions")
    connection.execute("DROP INDEX agent_runs_settings")
    connection.execute("ALTER TABLE project_secrets DROP COLUMN actor")
    connection.execute("ALTER TABLE project_settings DROP COLUMN fields")
    connection.execute("ALTER TABLE project_settings DROP COLUMN actor")
    connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (KEEP_VERSIONS,))


def make_runs_unindexed(path: Path) -> None:
    """Take back the migrations from `INDEX_RUNS` on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        forget_runs(connection)


def _forget_newest(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE guarded_targets")
    connection.execute(
        "CREATE INDEX audit_entries_guarded ON audit_entries (target, id) WHERE digest IS NOT NULL"
    )


def _drop_index(connection: sqlite3.Connection) -> None:
    for table in _MADE_BY_STORE_ANSWERS:
        connection.execute(f"DROP TABLE {table}")
    connection.execute("ALTER TABLE key_rotations DROP COLUMN last_old_answer_key_id")
    for made in MADE_BY_INDEX_PROJECTS:
        connection.execute(f"DROP {made}")


def forget_runs(connection: sqlite3.Connection) -> None:
    """Take back the migrations from `INDEX_RUNS` on."""
    forget_attempts(connection)
    connection.execute(
        "CREATE INDEX secret_versions_project_key ON secret_versions (project_key_id)\n"
        "    WHERE project_key_id IS NOT NULL"
    )
    connection.execute("ALTER TABLE installation DROP COLUMN epoch")
    connection.execute("DROP TABLE sessions")
    for made in MADE_BY_INDEX_RUNS:
        connection.execute(f"DROP {made}")
    connection.execute("ALTER TABLE agent_runs DROP COLUMN target_key")
    connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (INDEX_RUNS,))


def forget_attempts(connection: sqlite3.Connection) -> None:
    """Take back the migrations from `KEEP_ATTEMPTS` on: each test has its last result only, logs
    have no timestamp, runs no messages, and no secret is exempt from redaction."""
    connection.execute("DROP TABLE messages")
    for table in ("project_secrets", "secret_versions"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN redact")
    forget_counts(connection)
    connection.execute("ALTER TABLE system_logs DROP COLUMN timestamp")
    for column in ("first_timestamp", "last_timestamp"):
        connection.execute(f"ALTER TABLE system_log_blocks DROP COLUMN {column}")
    created = [
        statement
        for migration in load_migrations()[: KEEP_ATTEMPTS - 1]
        for statement in migration.statements()
        if re.search(r"(?m)^CREATE (TABLE|INDEX \w+ ON) test_results ", statement)
    ]
    columns = (
        "id, agent_run_id, test_type, test_name, status, duration_seconds, result_data,"
        " error_message, screenshot_path, log_path, created_at, updated_at"
    )
    connection.execute("DROP TABLE test_result_files")
    connection.execute("CREATE TEMP TABLE kept AS SELECT * FROM test_results WHERE is_last = 1")
    connection.execute("DROP TABLE test_results")
    for statement in created:
        connection.execute(statement)
    connection.execute(
        f"INSERT INTO test_results ({columns}) SELECT {columns} FROM temp.kept ORDER BY id"
    )
    connection.execute("DROP TABLE temp.kept")
    connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (KEEP_ATTEMPTS,))


def forget_counts(connection: sqlite3.Connection) -> None:
    """Take back the migrations from `COUNT_RUNS` on: only pending runs are counted."""
    for change in ("added", "changed", "removed"):
        connection.execute(f"DROP TRIGGER agent_runs_count_{change}")
    for column in (
        *("running_runs", "paused_runs", "completed_runs", "failed_runs", "cancelled_runs"),
        "last_completed_at",
    ):
        connection.execute(f"ALTER TABLE run_queues DROP COLUMN {column}")
    for statement in load_migrations()[COUNT_PENDING - 1].statements():
        if "CREATE TRIGGER" in statement:
            connection.execute(statement)
    connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (COUNT_RUNS,))
