"""The synchronous half, alone and together with the asynchronous one."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from database.connection_manager import DatabaseManager
from database.errors import (
    CheckViolation,
    CommitOutcomeUnknown,
    DatabaseBusy,
    DatabaseClosed,
    DatabaseFull,
    DatabaseReadOnly,
    ForeignKeyViolation,
    InvalidValue,
    StatementError,
    TransactionLost,
    UniqueViolation,
)
from database.sqlite.connection import ConnectionConfig
from tests.database.engine import LONG, adding, files_end_at, make_database, stored_names

INSERT = "INSERT INTO items (name) VALUES (?)"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[DatabaseManager]:
    """A manager with a closed asynchronous half."""
    make_database(tmp_path / "engine.db")
    manager = DatabaseManager(ConnectionConfig(tmp_path / "engine.db", queue_timeout=0.2))
    yield manager
    asyncio.run(manager.close())


def test_commands_and_queries(manager: DatabaseManager) -> None:
    assert manager.execute_command(INSERT, ("a",)) == 1
    assert manager.execute_command("UPDATE items SET amount = 5") == 1
    assert manager.execute_query("SELECT name, amount FROM items") == [{"name": "a", "amount": 5}]
    assert manager.execute_query("SELECT name FROM items WHERE id = ?", (9,)) == []
    assert manager.sync_pool.in_use == 0


def test_a_transaction_is_committed_at_the_end_and_rolled_back_when_it_raises(
    manager: DatabaseManager,
) -> None:
    with manager.transaction() as connection:
        connection.execute(INSERT, ("a",))
        connection.execute(INSERT, ("b",))
        assert manager.execute_query("SELECT * FROM items") == []

    def failing() -> None:
        with manager.transaction() as connection:
            connection.execute(INSERT, ("lost",))
            raise KeyError("mine")

    with pytest.raises(KeyError):
        failing()
    assert stored_names(manager.config.path) == ["a", "b"]
    assert manager.sync_pool.in_use == 0


def test_a_query_may_not_write_past_the_lock(manager: DatabaseManager) -> None:
    with pytest.raises(DatabaseReadOnly):
        manager.execute_query("INSERT INTO items (name) VALUES ('lost') RETURNING id")
    assert manager.execute_query("SELECT * FROM items") == []


@pytest.mark.parametrize(
    ("statement", "params", "error"),
    [
        ("INSERT INTO items (name) VALUES (NULL)", (), CheckViolation),
        ("INSERT INTO items (name, amount) VALUES ('a', ?)", (2**63,), InvalidValue),
        ("INSERT INTO items (name) VALUES (?)", ("\ud800",), InvalidValue),
        ("INSERT INTO nothing VALUES (1)", (), StatementError),
        ("INSERT INTO items (name) VALUES ('a'), ('a')", (), UniqueViolation),
        ("INSERT INTO parts (item_id) VALUES (4711)", (), ForeignKeyViolation),
        ("SELECT 1; SELECT 2", (), StatementError),
    ],
)
def test_no_error_of_the_driver_comes_out(
    manager: DatabaseManager, statement: str, params: tuple[object, ...], error: type[Exception]
) -> None:
    def raw() -> None:
        with manager.transaction() as connection:
            connection.execute(statement, params)

    for attempt in (raw, lambda: manager.execute_command(statement, params)):  # type: ignore[arg-type]
        with pytest.raises(error):
            attempt()
    assert manager.execute_query("SELECT * FROM items") == []
    assert manager.sync_pool.in_use == 0


def test_a_full_database_is_told_and_nothing_after_the_loss_is_committed(
    manager: DatabaseManager,
) -> None:
    def filling() -> None:
        with manager.transaction() as connection:
            connection.execute("PRAGMA max_page_count = 1")
            connection.execute(INSERT, ("x" * 1_000_000,))

    with pytest.raises(DatabaseFull):
        filling()

    def swallowing() -> None:
        with manager.transaction() as connection, pytest.raises(sqlite3.OperationalError):
            connection.execute(INSERT, ("x" * 1_000_000,))

    with pytest.raises(TransactionLost):
        swallowing()
    assert manager.execute_query("SELECT * FROM items") == []


def test_a_commit_that_fails_has_no_known_outcome_and_costs_the_connection(
    manager: DatabaseManager,
) -> None:
    used: list[sqlite3.Connection] = []

    def failing() -> None:
        with manager.transaction() as connection:
            used.append(connection)
            connection.execute(INSERT, ("a",))

    manager.execute_command("DELETE FROM items")
    # The lock and a connection are available: only the write to the log fails.
    with files_end_at(0), pytest.raises(CommitOutcomeUnknown):
        failing()
    with pytest.raises(sqlite3.ProgrammingError):
        used[0].execute("SELECT 1")
    with manager.transaction() as connection:
        assert connection is not used[0]
    assert manager.sync_pool.in_use == 0


def test_a_connection_is_used_again_after_an_ordinary_error(manager: DatabaseManager) -> None:
    with manager.sync_pool.connection() as first:
        first.execute("BEGIN")

    def failing() -> None:
        with manager.sync_pool.connection() as second:
            assert second is first
            assert not second.in_transaction
            second.execute("SELECT nothing")

    with pytest.raises(sqlite3.OperationalError):
        failing()
    with manager.sync_pool.connection() as third:
        assert third is first


def test_a_connection_that_was_closed_is_not_used_again(manager: DatabaseManager) -> None:
    with manager.sync_pool.connection() as first:
        first.close()
    with manager.sync_pool.connection() as second:
        assert second is not first
        assert second.execute("SELECT 1").fetchone()[0] == 1
    assert manager.sync_pool.in_use == 0


def test_a_file_that_can_not_be_opened_is_told_and_counts_for_nothing(tmp_path: Path) -> None:
    manager = DatabaseManager(tmp_path)
    with pytest.raises(Exception, match="CANTOPEN"):
        manager.execute_query("SELECT 1")
    assert manager.sync_pool.in_use == 0


def test_a_nested_transaction_is_refused_instead_of_waiting_for_itself(
    manager: DatabaseManager,
) -> None:
    with manager.transaction() as outer:
        outer.execute(INSERT, ("outer",))
        with pytest.raises(DatabaseBusy), manager.transaction():
            pass
    assert stored_names(manager.config.path) == ["outer"]


def test_a_closed_pool_hands_out_nothing_and_closes_what_comes_back(
    manager: DatabaseManager,
) -> None:
    with manager.sync_pool.connection() as connection:
        manager.sync_pool.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    with pytest.raises(DatabaseClosed):
        manager.execute_query("SELECT 1")
    with pytest.raises(DatabaseClosed):
        manager.execute_command(INSERT, ("a",))
    manager.sync_pool.open()
    assert manager.execute_query("SELECT * FROM items") == []


async def test_threads_and_the_writer_take_turns_without_a_lock_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "engine.db"
    make_database(path)
    # SQLite itself would not wait for a lock, so every collision would be an error.
    config = ConnectionConfig(path, busy_timeout=0, queue_timeout=LONG, checkpoint_frames=20)
    async with DatabaseManager(config) as manager:
        pool = manager.async_pool

        def in_a_thread(thread: int) -> None:
            for n in range(50):
                with manager.transaction() as connection:
                    connection.execute(INSERT, (f"thread {thread} {n}",))

        async def units(task: int) -> None:
            for n in range(50):
                await pool.run_unit(adding(pool, f"unit {task} {n}"))

        async def interactive() -> None:
            for n in range(10):
                async with pool.transaction() as tx:
                    await tx.execute(INSERT, (f"interactive {n}",))

        await asyncio.gather(
            *(asyncio.to_thread(in_a_thread, thread) for thread in range(2)),
            *(units(task) for task in range(4)),
            interactive(),
        )
        row = await pool.fetch_one("SELECT count(*) FROM items")
        assert row is not None
        assert row[0] == 2 * 50 + 4 * 50 + 10
        assert pool.writer.stats.checkpoints >= 1
