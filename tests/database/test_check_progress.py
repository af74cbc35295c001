"""The progress of SQLite's own checks, and the check of an index of trigrams."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backend.repositories.following_index import INDEXES, FollowingIndex
from backend.runtime import Runtime
from config.settings import Settings
from database.sqlite import check_progress
from database.sqlite.integrity import file_problem, reference_problem
from database.sqlite.trigram_check import check_counts
from tests.runtime.test_project_index import INSERT

ROWS = 3_000


@pytest.fixture
async def path(installed: Settings) -> Path:
    """A database with projects and runs, all of them indexed."""
    path = installed.data_dir / "strongroom.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(INSERT, (ROWS,))
        connection.execute(
            "INSERT INTO agent_runs (project_id, run_number, target_text, created_at, updated_at)"
            " SELECT id, 1, 'Fix the build of ' || name, created_at, updated_at FROM projects"
        )
    runtime = await Runtime.start(installed)
    await runtime.project_indexer.run()
    await runtime.run_indexer.run()
    await runtime.stop()
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can't write, as that of `strongroom verify`."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as ro:
        yield ro


def test_a_check_tells_how_far_it_is(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_progress, "_STEPS", 1_000)
    for check in (file_problem, reference_problem):
        seen = list[float]()
        assert check(connection, seen.append) is None
        assert seen[-1] == 1.0
        assert all(0 <= share <= 1 for share in seen)
        # The steps of the machine are about as many as was estimated.
        beyond = [share for share in seen[:-1] if share > check_progress.PAGES_SHARE]
        assert beyond == sorted(beyond)
        assert 0.4 < beyond[-1] < 1.0
        assert len(set(beyond)) >= 5


def test_without_a_listener_nothing_is_estimated(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    assert file_problem(connection) is None
    assert statements == ["PRAGMA integrity_check(1)"]


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_fits_its_rows(connection: sqlite3.Connection, kind: type[FollowingIndex]) -> None:
    seen = list[float]()
    assert check_counts(connection, *kind.names[1:], seen.append) == (ROWS, None)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE agent_runs SET target_text = 'Rewritten' WHERE id = 7", "trigram"),
        ("DELETE FROM run_index_state; DELETE FROM agent_runs WHERE id = 7", "trigram"),
        ("UPDATE agent_runs SET target_key = 'another' WHERE id = 7", "trigram"),
        ("INSERT INTO run_index (run_index) VALUES ('delete-all')", "lacks"),
    ],
)
def test_an_index_that_does_not_fit_is_found(
    path: Path, connection: sqlite3.Connection, damage: str, problem: str
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.executescript(damage)
    [kind] = [one for one in INDEXES if one.table == "agent_runs"]
    found = check_counts(connection, *kind.names[1:]).problem
    assert found is not None
    assert problem in found
    [other] = [one for one in INDEXES if one is not kind]
    assert check_counts(connection, *other.names[1:]).problem is None


def test_removed_rows_are_known(path: Path, connection: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("DELETE FROM agent_runs WHERE id % 2 = 0")
    [kind] = [one for one in INDEXES if one.table == "agent_runs"]
    # What is not yet removed from the index is in the table of removals.
    assert check_counts(connection, *kind.names[1:]) == (ROWS, None)


async def test_removed_rows_are_known_once_they_are_removed(
    path: Path, installed: Settings, connection: sqlite3.Connection
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("DELETE FROM agent_runs WHERE id % 2 = 0")
    runtime = await Runtime.start(installed)
    [kind] = [one for one in INDEXES if one.table == "agent_runs"]
    # Before the index is tidied, its entries are only marked.
    while (await runtime.service.run_index.remove_next()).rows:
        pass
    assert check_counts(connection, *kind.names[1:]) == (ROWS // 2, None)
    await runtime.run_indexer.run()
    assert check_counts(connection, *kind.names[1:]) == (ROWS // 2, None)
    await runtime.stop()
