"""SQLite loses a whole transaction or fails its COMMIT: no caller is told of a success."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from database.errors import (
    CommitOutcomeUnknown,
    DatabaseClosed,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    ForeignKeyViolation,
    StatementError,
    TransactionLost,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from database.sqlite.transaction import Work
from tests.database.engine import (
    LONG,
    adding,
    assert_at_rest,
    files_end_at,
    in_one_batch,
    make_database,
    names,
    no_room,
    stored_names,
)

LARGE = "x" * 1_000_000
LOSING = "INSERT INTO items (name) VALUES (?)"
"""With a value that is too large, SQLite rolls back the whole transaction."""
FAILING = "INSERT INTO items (name) VALUES ('small'), (?)"
"""With a value that is too large, SQLite rolls back this statement."""


def statement(pool: AsyncConnectionPool, sql: str, *params: str) -> Work[int]:
    async def work() -> int:
        async with pool.transaction() as tx:
            return await tx.execute(sql, params)

    return work


async def test_no_unit_of_a_batch_that_sqlite_rolled_back_is_answered_as_a_success(
    pool: AsyncConnectionPool,
) -> None:
    async with no_room(pool):
        results = await in_one_batch(
            pool, adding(pool, "second"), statement(pool, LOSING, LARGE), adding(pool, "third")
        )
    # The third unit started after the loss, and runs in a transaction of its own.
    assert [type(result) for result in results[:3]] == [DatabaseFull] * 3
    assert results[3] == 1
    assert await names(pool) == ["third"]
    assert pool.writer.poisoned is None
    assert pool.writer.stats.failed_units == 3
    await assert_at_rest(pool)


async def test_a_full_database_works_again_when_there_is_room(pool: AsyncConnectionPool) -> None:
    async with no_room(pool):
        with pytest.raises(DatabaseFull):
            await pool.execute(LOSING, (LARGE,))
        with pytest.raises(DatabaseFull):
            await pool.execute_many(LOSING, [("a",), (LARGE,)])
    assert await pool.execute(LOSING, (LARGE,)) == 1
    assert len(await names(pool)) == 1
    await assert_at_rest(pool)


async def test_a_statement_that_is_rolled_back_alone_fails_its_unit_alone(
    pool: AsyncConnectionPool,
) -> None:
    async with no_room(pool):
        results = await in_one_batch(pool, statement(pool, FAILING, LARGE), adding(pool, "second"))
    assert [type(result) for result in results] == [int, DatabaseFull, int]
    assert await names(pool) == ["first", "second"]


def _swallowing(pool: AsyncConnectionPool) -> dict[str, Work[str]]:
    async def inside_the_block() -> str:
        async with pool.transaction() as tx:
            with pytest.raises(DatabaseFull):
                await tx.execute(LOSING, (LARGE,))
            with contextlib.suppress(TransactionLost):
                await tx.execute(LOSING, ("autocommitted",))
        return "done"

    async def block(name: str) -> None:
        async with pool.transaction() as tx:
            await tx.execute(LOSING, (name,))

    async def outside_the_block() -> str:
        with pytest.raises(DatabaseFull):
            await block(LARGE)
        with contextlib.suppress(TransactionLost):
            await block("autocommitted")
        return "done"

    async def outside_a_nested_block() -> str:
        async with pool.transaction():
            with pytest.raises(DatabaseFull):
                await block(LARGE)
            with contextlib.suppress(TransactionLost):
                await block("autocommitted")
        return "done"

    return {
        "inside the block": inside_the_block,
        "outside the block": outside_the_block,
        "outside a nested block": outside_a_nested_block,
    }


@pytest.mark.parametrize("how", ["inside the block", "outside the block", "outside a nested block"])
async def test_a_unit_that_goes_on_after_its_transaction_was_lost_commits_nothing(
    pool: AsyncConnectionPool, how: str
) -> None:
    async with no_room(pool):
        results = await in_one_batch(pool, _swallowing(pool)[how], adding(pool, "later"))
    # The pool can't know why the transaction was lost.
    assert [type(result) for result in results[:2]] == [TransactionLost] * 2
    assert results[2] == 1
    assert await names(pool) == ["later"]
    await assert_at_rest(pool)


async def test_an_interactive_transaction_that_was_lost_does_not_go_on(
    pool: AsyncConnectionPool,
) -> None:
    async def interactive() -> None:
        async with pool.transaction() as tx:
            await tx.execute(LOSING, ("before",))
            with pytest.raises(DatabaseFull):
                await tx.execute(LOSING, (LARGE,))
            with pytest.raises(TransactionLost):
                await tx.execute(LOSING, ("after",))

    async with no_room(pool):
        with pytest.raises(TransactionLost):
            await interactive()
    assert await names(pool) == []
    assert pool.writer.stats.failed_units == 1
    await assert_at_rest(pool)


async def test_a_commit_that_is_refused_fails_every_unit_of_its_batch(
    pool: AsyncConnectionPool,
) -> None:
    results = await in_one_batch(
        pool,
        statement(pool, "INSERT INTO parts (item_id) VALUES (4711)"),
        statement(pool, "INSERT INTO items (name, amount) VALUES ('negative', -1)"),
        adding(pool, "last"),
    )
    # It is unknown which unit caused the loss, and the others must not be blamed for it.
    assert [type(result) for result in (results[0], results[1], results[3])] == [
        TransactionLost
    ] * 3
    assert isinstance(results[2], DatabaseError)
    assert not isinstance(results[2], TransactionLost)
    assert await names(pool) == []
    assert pool.writer.poisoned is None
    stats = pool.writer.stats
    assert (stats.commits, stats.failed_commits, stats.units, stats.failed_units) == (0, 1, 0, 4)
    await assert_at_rest(pool)


async def test_a_commit_that_is_refused_names_the_reason_to_a_unit_that_was_alone(
    pool: AsyncConnectionPool,
) -> None:
    insert = "INSERT INTO parts (item_id) VALUES (4711)"
    with pytest.raises(ForeignKeyViolation):
        await pool.run_unit(statement(pool, insert))
    with pytest.raises(ForeignKeyViolation):
        await pool.execute(insert)

    async def interactive() -> None:
        async with pool.transaction() as tx:
            await tx.execute(insert)

    with pytest.raises(ForeignKeyViolation):
        await interactive()
    await assert_at_rest(pool)


async def test_a_unit_that_ends_the_transaction_itself_is_told_so(
    pool: AsyncConnectionPool,
) -> None:
    results = await in_one_batch(pool, statement(pool, "ROLLBACK"), adding(pool, "next"))
    assert [type(result) for result in results] == [TransactionLost, TransactionLost, int]
    # There is no savepoint to release, so nothing is lost.
    results = await in_one_batch(pool, statement(pool, "RELEASE unit"), adding(pool, "other"))
    assert [type(result) for result in results] == [int, StatementError, int]
    assert await names(pool) == ["first", "next", "other"]
    await assert_at_rest(pool)


class Poisoned:
    """A pool that records why it was poisoned."""

    def __init__(self, config: ConnectionConfig) -> None:
        self.errors: list[DatabaseError] = []
        self.pool = AsyncConnectionPool(config, on_poison=self.errors.append)


@pytest.fixture
async def poisonable(tmp_path: Path) -> AsyncIterator[Poisoned]:
    path = tmp_path / "engine.db"
    make_database(path)
    poisonable = Poisoned(
        ConnectionConfig(path, readers=1, batch_units=3, batch_seconds=60, checkpoint_frames=1)
    )
    await poisonable.pool.open()
    yield poisonable
    await poisonable.pool.close()


async def poison(
    pool: AsyncConnectionPool, size: Callable[[], Coroutine[Any, Any, int]]
) -> list[object | BaseException]:
    """Run three units in a batch and one after it, with files limited to `size` bytes."""
    limit = await size()
    with files_end_at(limit):
        return await in_one_batch(
            pool, adding(pool, "second"), adding(pool, "third"), adding(pool, "fourth")
        )


async def test_a_commit_with_an_unknown_outcome_stops_the_writer(
    poisonable: Poisoned, caplog: pytest.LogCaptureFixture
) -> None:
    pool = poisonable.pool
    await pool.run_unit(adding(pool, "kept"))
    config = pool._config

    async def end_of_the_log() -> int:
        return config.wal_path.stat().st_size

    assert await pool.writer.checkpoint()
    results = await poison(pool, end_of_the_log)
    assert [type(result) for result in results[:3]] == [CommitOutcomeUnknown] * 3
    assert isinstance(results[3], DatabaseClosed)
    assert isinstance(pool.writer.poisoned, CommitOutcomeUnknown)
    assert poisonable.errors == [pool.writer.poisoned]
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
    with pytest.raises(DatabaseClosed):
        await pool.run_unit(adding(pool, "refused"))
    with pytest.raises(DatabaseClosed):
        await pool.run_alone(lambda raw: raw.total_changes)
    with pytest.raises(DatabaseClosed):
        async with pool.transaction():
            pass
    assert await names(pool) == ["kept"]
    assert pool.stats()["poisoned"] is True
    await pool.close()
    # The next process finds the whole batch or none of it.
    assert stored_names(config.path) in (["kept"], ["first", "kept", "second", "third"])


async def test_a_checkpoint_that_can_not_write_stops_the_writer(poisonable: Poisoned) -> None:
    pool = poisonable.pool
    await pool.execute_many(
        "INSERT INTO parts (body) VALUES (?)", [("x" * 1000,) for _ in range(500)]
    )
    assert await pool.writer.checkpoint()

    async def end_of_the_file() -> int:
        return pool._config.path.stat().st_size

    async def unit() -> None:
        async with pool.transaction() as tx:
            await tx.execute_many(
                "INSERT INTO parts (body) VALUES (?)", [("x" * 1000,) for _ in range(50)]
            )

    # The log has room for a transaction, the database file has no room for its pages.
    with files_end_at(await end_of_the_file()):
        await pool.run_unit(unit)
        # The checkpoint follows the answer, and comes before work that needs the writer alone.
        with pytest.raises(DatabaseClosed):
            await pool.run_alone(lambda raw: raw.total_changes)
    assert type(pool.writer.poisoned) is DatabaseUnavailable
    while not poisonable.errors:
        # The writer's thread notifies the event loop.
        await asyncio.sleep(0)
    assert poisonable.errors == [pool.writer.poisoned]
    row = await pool.fetch_one("SELECT count(*) FROM parts")
    assert row is not None
    assert row[0] == 550


async def test_a_statement_that_can_not_write_fails_its_batch_and_no_more(
    poisonable: Poisoned,
) -> None:
    pool = poisonable.pool
    await pool.run_alone(lambda raw: raw.execute("PRAGMA cache_size = 10").close())
    rows = [("x" * 1000,) for _ in range(500)]

    async def more_than_the_cache_holds() -> None:
        async with pool.transaction() as tx:
            await tx.execute_many("INSERT INTO parts (body) VALUES (?)", rows)

    with files_end_at(100_000):
        results = await in_one_batch(pool, more_than_the_cache_holds)
    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    # Nothing was committed, so no outcome is unknown.
    assert pool.writer.poisoned is None
    await pool.run_unit(adding(pool, "next"))
    assert await names(pool) == ["next"]


async def test_a_writer_whose_connection_was_closed_stops(poisonable: Poisoned) -> None:
    pool = poisonable.pool
    await pool.run_alone(lambda raw: raw.rollback())
    await pool.writer._connection.run(lambda raw: raw.close())
    with pytest.raises(DatabaseError):
        await asyncio.wait_for(pool.run_unit(adding(pool, "one")), LONG)
    with pytest.raises(DatabaseClosed):
        await asyncio.wait_for(pool.run_unit(adding(pool, "two")), LONG)
    assert poisonable.errors == [pool.writer.poisoned]


async def test_a_writer_whose_thread_ended_stops(poisonable: Poisoned) -> None:
    pool = poisonable.pool
    await pool.writer._connection.close()
    with pytest.raises(DatabaseClosed):
        await asyncio.wait_for(pool.run_unit(adding(pool, "one")), LONG)
    assert poisonable.errors == [pool.writer.poisoned]
    assert await names(pool) == []


async def test_a_transaction_that_a_function_leaves_open_is_rolled_back(
    pool: AsyncConnectionPool,
) -> None:
    def leaves_open(raw: Any) -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT INTO items (name) VALUES ('left')")

    await pool.run_alone(leaves_open)
    await pool.run_unit(adding(pool, "next"))
    assert await names(pool) == ["next"]
