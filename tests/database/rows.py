"""A minimal row of each table, and functions that insert rows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from database.migrator import load_migrations, migrate

NOW = "2026-01-31T12:00:00.000000Z"
TIMES = {"created_at": NOW, "updated_at": NOW}
PROJECT = {
    "name": "A",
    "github_owner": "Acme",
    "github_repo": "Box",
    "name_key": "a",
    "owner_key": "acme",
    "repo_key": "box",
    "search_text": "a\nacme\nbox",
    **TIMES,
}
RUN = {"project_id": 1, "run_number": 1, "target_text": "Go", **TIMES}
ROWS: dict[str, dict[str, Any]] = {
    "master_keys": {"key_id": "k1", "canary": "c", "created_at": NOW},
    "installation": {
        "id": 1,
        "installation_id": "i",
        "master_key_id": "k1",
        "wrapped_key": "w",
        "created_at": NOW,
    },
    "api_tokens": {"name": "t", "mac": "m", "scopes": "[]", "created_at": NOW},
    "sessions": {"token_id": 1, "mac": "m", "created_at": NOW, "expires_at": NOW},
    "projects": PROJECT,
    "project_settings": {"project_id": 1, **TIMES},
    "project_keys": {"project_id": 1, "master_key_id": "k1", "wrapped": "w", "created_at": NOW},
    "project_secrets": {
        "project_id": 1,
        "project_key_id": 1,
        "key_name": "K",
        "ciphertext": "c",
        **TIMES,
    },
    "run_queues": {"project_id": 1, "last_run_number": 1},
    "agent_runs": RUN,
    "pipeline_states": {"agent_run_id": 1, "state": "created", "created_at": NOW},
    "messages": {"agent_run_id": 1, "role": "user", "content": "c", "created_at": NOW},
    "webhooks": {"project_id": 1, "webhook_type": "custom", **TIMES},
    "webhook_deliveries": {
        "webhook_id": 1,
        "guid": "g",
        "event": "push",
        "payload_bytes": 2,
        "payload": "{}",
        "created_at": NOW,
    },
    "test_results": {
        "agent_run_id": 1,
        "test_type": "unit",
        "test_name": "t",
        "status": "passed",
        **TIMES,
    },
    "test_result_files": {"agent_run_id": 1, "digest": b"d" * 32, "created_at": NOW},
    "grainchain_snapshots": {"agent_run_id": 1, "snapshot_id": "s", **TIMES},
    "system_logs": {
        "level": "INFO",
        "level_no": 20,
        "message": "m",
        "project_id": 1,
        "agent_run_id": 1,
        "created_at": NOW,
    },
    "system_log_removals": {"project_id": 99},
    "audit_entries": {
        "id": 1,
        "at": NOW,
        "actor": "a",
        "action": "project.created",
        "target": "projects/1",
        "project_id": 1,
        "mac": "0" * 64,
    },
    "answer_keys": {"master_key_id": "k1", "wrapped": "w", "created_at": NOW},
    "stored_answers": {
        "key_mac": b"m" * 16,
        "answer_key_id": 1,
        "project_id": 1,
        "sealed": b"s" * 28,
        "created_at": NOW,
    },
    "stored_answer_projects": {"project_id": 1, "answer_id": 1},
    "key_rotations": {"reencrypt": 0, "last_old_key_id": 1, "total": 2, "started_at": NOW},
}
"""For each table a row with only the required columns, in an order in which they can be
inserted."""


def insert(connection: sqlite3.Connection, table: str, **changes: Any) -> None:
    row = {**ROWS[table], **changes}
    marks = ", ".join("?" * len(row))
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})",  # noqa: S608
        tuple(row.values()),
    ).close()


def insert_all(connection: sqlite3.Connection) -> None:
    for table in ROWS:
        insert(connection, table)


def query(connection: sqlite3.Connection, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sql, params).fetchall()]


@contextmanager
def upgraded_to(path: Path, version: int) -> Iterator[sqlite3.Connection]:
    """A new database with the schema of an earlier version, closed after the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, load_migrations()[:version])
        yield connection
