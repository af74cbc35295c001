"""The schema itself refuses invalid rows, whatever program writes them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import models
from database.migrator import dump_schema
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.database.rows import NOW, ROWS, insert, insert_all, query

SCHEMA = Path(__file__).parents[2] / "database" / "schema.sql"
MODELS: dict[str, type[models.BaseDBModel]] = {
    "projects": models.Project,
    "project_settings": models.ProjectSettings,
    "project_secrets": models.ProjectSecret,
    "agent_runs": models.AgentRun,
    "pipeline_states": models.PipelineState,
    "messages": models.Message,
    "webhooks": models.Webhook,
    "webhook_deliveries": models.WebhookDelivery,
    "test_results": models.TestResult,
    "grainchain_snapshots": models.GrainchainSnapshot,
    "system_logs": models.SystemLog,
}
ENUMS: list[tuple[str, str, type[StrEnum]]] = [
    ("projects", "status", models.ProjectStatus),
    ("agent_runs", "run_type", models.RunType),
    ("agent_runs", "status", models.RunStatus),
    ("agent_runs", "validation_status", models.ValidationStatus),
    ("pipeline_states", "state", models.PipelineStateName),
    ("pipeline_states", "previous_state", models.PipelineStateName),
    ("messages", "role", models.MessageRole),
    ("webhooks", "webhook_type", models.WebhookType),
    ("test_results", "status", models.TestStatus),
    ("grainchain_snapshots", "status", models.SnapshotStatus),
    ("system_logs", "level", models.LogLevel),
]


@pytest.fixture
def connection(database_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_connection(ConnectionConfig(database_path))) as connection:
        yield connection


def tables(connection: sqlite3.Connection) -> list[str]:
    return [
        name
        for (name,) in query(
            connection,
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
            "AND name NOT LIKE 'sqlite%'",
        )
    ]


def test_schema_sql_is_what_the_migrations_make(connection: sqlite3.Connection) -> None:
    written = SCHEMA.read_text(encoding="utf-8")
    assert written.startswith("--")
    assert written.partition("\n\n")[2] == dump_schema(connection), "run: make schema"


def test_schema_sql_makes_the_schema(connection: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
        other.executescript(SCHEMA.read_text(encoding="utf-8"))
        assert dump_schema(other) == dump_schema(connection)


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    loose = query(
        connection,
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
        "AND NOT strict AND name NOT LIKE 'sqlite%'",
    )
    assert loose == []


@pytest.mark.parametrize("table", MODELS)
def test_a_stored_row_makes_its_entity(connection: sqlite3.Connection, table: str) -> None:
    insert_all(connection)
    row = dict(connection.execute(f"SELECT * FROM {table}").fetchone())  # noqa: S608
    entity = MODELS[table].model_validate(row)
    assert set(type(entity).model_fields) <= set(row)
    assert entity.id == 1
    assert entity.created_at == NOW


@pytest.mark.parametrize(("table", "column", "enum"), ENUMS)
def test_an_enumeration_takes_its_values_and_no_other(
    connection: sqlite3.Connection, table: str, column: str, enum: type[StrEnum]
) -> None:
    def put(value: str) -> None:
        changes: dict[str, Any] = {column: value}
        if table == "agent_runs" and column == "status":
            final = value in ("completed", "failed", "cancelled")
            changes |= {"started_at": NOW, "completed_at": NOW if final else None}
        if isinstance(value, models.LogLevel):
            changes["level_no"] = value.number
        insert(connection, table, **changes)
        connection.execute(f"DELETE FROM {table}").close()  # noqa: S608

    for parent in ("projects", "agent_runs"):
        if parent == table:
            break
        insert(connection, parent)
    for value in enum:
        put(value)
    for other in ("", "other", next(iter(enum)).swapcase()):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            put(other)


def test_a_level_and_its_number_belong_together(connection: sqlite3.Connection) -> None:
    insert(connection, "projects")
    insert(connection, "agent_runs")
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        insert(connection, "system_logs", level="ERROR", level_no=20)


TIMELESS = {"run_queues", "stored_answer_projects", "system_log_removals"}


@pytest.mark.parametrize("table", sorted(ROWS.keys() - TIMELESS))
def test_a_time_has_one_form(connection: sqlite3.Connection, table: str) -> None:
    insert_all(connection)
    columns = [
        name for (name,) in query(connection, "SELECT name FROM pragma_table_info(?)", table)
    ]
    times = [name for name in columns if name == "at" or name.endswith("_at")]
    assert times
    for column in times:
        for wrong in (
            "2026-01-31 12:00:00.000000Z",
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000000+00:00",
            "",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
                connection.execute(f"UPDATE {table} SET {column} = ?", (wrong,))  # noqa: S608


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("projects", "auto_merge_enabled"),
        ("projects", "auto_confirm_plans"),
        ("agent_runs", "auto_merge_enabled"),
        ("agent_runs", "merge_completed"),
        ("webhooks", "is_active"),
    ],
)
def test_a_boolean_is_0_or_1(connection: sqlite3.Connection, table: str, column: str) -> None:
    insert_all(connection)
    connection.execute(f"UPDATE {table} SET {column} = 1")  # noqa: S608
    for wrong in (2, -1, None):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"UPDATE {table} SET {column} = ?", (wrong,))  # noqa: S608


@pytest.mark.parametrize(
    ("table", "column", "longest"),
    [
        ("projects", "name", 255),
        ("projects", "github_owner", 100),
        ("projects", "github_repo", 100),
        ("projects", "webhook_url", 2048),
        ("project_secrets", "key_name", 100),
        ("project_settings", "branch_name", 244),
        ("agent_runs", "target_text", 50_000),
        ("system_logs", "message", 10_000),
    ],
)
def test_a_text_has_its_length(
    connection: sqlite3.Connection, table: str, column: str, longest: int
) -> None:
    insert_all(connection)
    update = f"UPDATE {table} SET {column} = ?"  # noqa: S608
    connection.execute(update, ("é" * longest,))
    for wrong in ("", "é" * (longest + 1)):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            connection.execute(update, (wrong,))


def test_a_purged_project_takes_all_that_belongs_to_it(connection: sqlite3.Connection) -> None:
    insert_all(connection)
    connection.execute("DELETE FROM projects WHERE id = 1").close()
    left = {table for table in ROWS if query(connection, f"SELECT 1 FROM {table}")}  # noqa: S608
    assert left == {
        "answer_keys",
        "installation",
        "master_keys",
        "api_tokens",
        "sessions",
        "audit_entries",
        "key_rotations",
        # The logs are removed later in batches, by this note.
        "system_logs",
        "system_log_removals",
    }
    notes = "SELECT project_id, agent_run_id FROM system_log_removals WHERE id > 1"
    assert query(connection, notes) == [(1, None)]


def test_a_removed_run_leaves_a_note_of_its_logs(connection: sqlite3.Connection) -> None:
    insert_all(connection)
    insert(connection, "agent_runs", run_number=2)
    connection.execute("DELETE FROM agent_runs").close()
    notes = "SELECT project_id, agent_run_id FROM system_log_removals WHERE id > 1"
    # The second run had no logs.
    assert query(connection, notes) == [(None, 1)]


def test_a_log_of_a_run_names_the_project(connection: sqlite3.Connection) -> None:
    insert_all(connection)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        insert(connection, "system_logs", project_id=None)


def test_every_reference_cascades_and_has_an_index(connection: sqlite3.Connection) -> None:
    seen = 0
    for table in tables(connection):
        first_columns = {
            column
            for (column,) in query(
                connection,
                "SELECT i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i "
                "WHERE i.seqno = 0 "
                "UNION ALL SELECT name FROM pragma_table_info(?) WHERE pk = 1",
                table,
                table,
            )
        }
        for target, column, action in query(
            connection, 'SELECT "table", "from", on_delete FROM pragma_foreign_key_list(?)', table
        ):
            seen += 1
            # The installation has only one row, which needs no index.
            if table != "installation":
                assert column in first_columns, f"{table}.{column} has no index"
            # A key is never removed while it encrypts something.
            is_key = target in ("master_keys", "project_keys", "answer_keys")
            assert action == ("NO ACTION" if is_key else "CASCADE")
    assert seen > 9


def test_a_cascade_finds_rows_through_their_partial_indexes(
    connection: sqlite3.Connection,
) -> None:
    insert_all(connection)
    roots = dict(query(connection, "SELECT rootpage, name FROM sqlite_schema WHERE rootpage > 0"))
    opened = {
        roots.get(row[3])
        for row in query(connection, "EXPLAIN DELETE FROM project_keys WHERE id = 1")
        if row[1] in ("OpenRead", "ReopenIdx")
    }
    assert "webhooks_project_key" in opened


NEVER_AGAIN = (
    *("api_tokens", "sessions", "projects", "project_keys", "project_secrets", "agent_runs"),
    *("webhooks", "webhook_deliveries", "grainchain_snapshots", "system_logs", "answer_keys"),
)


@pytest.mark.parametrize("table", NEVER_AGAIN)
def test_an_id_is_never_given_out_twice(connection: sqlite3.Connection, table: str) -> None:
    for name in ROWS:
        insert(connection, name)
        if name == table:
            break
    connection.execute(f"DELETE FROM {table}").close()  # noqa: S608
    insert(connection, table)
    assert query(connection, f"SELECT id FROM {table}") == [(2,)]  # noqa: S608


def test_a_repository_has_one_project_that_is_not_deleted(connection: sqlite3.Connection) -> None:
    insert(connection, "projects", status="deleted")
    insert(connection, "projects", status="deleted")
    insert(connection, "projects", status="archived")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(connection, "projects")
    insert(connection, "projects", repo_key="other")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        connection.execute("UPDATE projects SET status = 'active' WHERE id = 1")


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("project_settings", {}),
        ("project_keys", {"master_key_id": "k1"}),
        ("project_secrets", {"ciphertext": "other"}),
        ("agent_runs", {"target_text": "other"}),
        ("webhook_deliveries", {"event": "other"}),
        ("test_results", {"status": "failed"}),
        ("grainchain_snapshots", {"status": "ready"}),
        ("api_tokens", {"name": "other"}),
        ("sessions", {"expires_at": "2026-02-01T12:00:00.000000Z"}),
        ("installation", {"installation_id": "other"}),
        ("answer_keys", {"wrapped": "other"}),
        ("stored_answers", {"sealed": b"o" * 28}),
        ("stored_answer_projects", {}),
        ("master_keys", {"canary": "other"}),
    ],
)
def test_a_second_row_of_the_same_identity_is_refused(
    connection: sqlite3.Connection, table: str, changes: dict[str, str]
) -> None:
    insert_all(connection)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(connection, table, **changes)


def test_there_is_one_installation(connection: sqlite3.Connection) -> None:
    insert(connection, "master_keys")
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        insert(connection, "installation", id=2)


def test_a_project_keeps_its_retired_keys_beside_the_current_one(
    connection: sqlite3.Connection,
) -> None:
    insert_all(connection)
    connection.execute("UPDATE project_keys SET retired_at = ?", (NOW,))
    insert(connection, "project_keys")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(connection, "project_keys")


def test_a_key_in_use_can_not_be_removed(connection: sqlite3.Connection) -> None:
    insert_all(connection)
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("DELETE FROM master_keys")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("DELETE FROM project_keys")
    connection.execute("DELETE FROM project_secrets")
    connection.execute("DELETE FROM project_keys")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("DELETE FROM master_keys")
    connection.execute("DELETE FROM installation")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("DELETE FROM answer_keys")
    connection.execute("DELETE FROM stored_answers")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("DELETE FROM master_keys")
    connection.execute("DELETE FROM answer_keys")
    connection.execute("DELETE FROM master_keys")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "running"},
        {"status": "completed", "completed_at": NOW},
        {"status": "failed"},
        {"status": "pending", "completed_at": NOW},
        {"lease_token_hash": "h"},
        {"lease_expires_at": NOW},
        {"lease_token_hash": "h", "lease_expires_at": NOW},
        {"run_number": 0},
    ],
)
def test_a_run_can_not_contradict_itself(
    connection: sqlite3.Connection, changes: dict[str, Any]
) -> None:
    insert(connection, "projects")
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        insert(connection, "agent_runs", **changes)
