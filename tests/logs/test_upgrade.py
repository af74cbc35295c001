"""Logs in a database that an earlier version made."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from database.migrator import load_migrations, migrate

SEPARATE_OWN_LOGS = 8


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A database from before the service's own logs were marked, with both kinds of logs."""
    path = tmp_path / "earlier.db"
    before = [one for one in load_migrations() if one.version < SEPARATE_OWN_LOGS]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, before)
        connection.executemany(
            "INSERT INTO system_logs (id, level, level_no, message, component, project_id,"
            " created_at) VALUES (?, 'INFO', 20, 'm', ?, ?, ?)",
            [
                (1, "planner", None, "2026-01-31T12:00:00.000000Z"),
                (999, "strongroom.error", None, "2026-01-30T12:00:00.000000Z"),
                (1000, "strongroom.error", 1, "2026-01-31T12:00:00.000000Z"),
                (1500, "strongrooms", None, "2026-02-01T12:00:00.000000Z"),
                (3000, None, None, "2026-02-02T12:00:00.000000Z"),
            ],
        )
    return path


def test_own_logs_are_marked_and_the_times_of_blocks_noted(earlier: Path) -> None:
    with closing(sqlite3.connect(earlier, isolation_level=None)) as connection:
        migrate(connection)
        own = connection.execute("SELECT id FROM system_logs WHERE own = 1").fetchall()
        assert own == [(999,)]
        blocks = connection.execute(
            "SELECT block, first_at, last_at FROM system_log_blocks ORDER BY block"
        ).fetchall()
        assert blocks == [
            (0, "2026-01-30T12:00:00.000000Z", "2026-01-31T12:00:00.000000Z"),
            (1, "2026-01-31T12:00:00.000000Z", "2026-02-01T12:00:00.000000Z"),
        ]
