"""Copying a database in steps, during writes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from database.errors import DatabaseBusy
from database.sqlite import backup
from database.sqlite.backup import copy_database
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.database.engine import make_database


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConnectionConfig:
    """A database that takes several steps to copy."""
    monkeypatch.setattr(backup, "_PAGES_PER_STEP", 10)
    config = make_database(tmp_path / "source.db")
    with closing(open_connection(config)) as connection:
        connection.executemany(
            "INSERT INTO parts (body) VALUES (?)", [("x" * 10_000,) for _ in range(50)]
        ).close()
    return config


def test_a_copy_in_steps_shows_one_moment_and_ends_while_others_write(
    source: ConnectionConfig, tmp_path: Path
) -> None:
    steps = 0
    target = tmp_path / "copy.db"
    with (
        closing(open_connection(source, read_only=True)) as reading,
        closing(open_connection(source)) as writing,
    ):

        def go_on() -> bool:
            nonlocal steps
            steps += 1
            writing.execute("INSERT INTO parts (body) VALUES ('meanwhile')").close()
            return True

        counts = copy_database(reading, target, go_on)
    assert counts["parts"] == 50
    # Each page once: the copy did not start again.
    assert 10 < steps < 30
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*) FROM parts").fetchone() == (50,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_copy_gives_up_when_it_is_told_to(source: ConnectionConfig, tmp_path: Path) -> None:
    with (
        closing(open_connection(source, read_only=True)) as reading,
        pytest.raises(DatabaseBusy, match="is writing too much") as refused,
    ):
        copy_database(reading, tmp_path / "copy.db", lambda: False)
    assert refused.value.retry_after == 60
