"""A batch that is run again fails: no unit is told of a success, and none of the repetition."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
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
    TransactionLost,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from tests.database.engine import (
    Changing,
    Failing,
    Written,
    adding,
    assert_at_rest,
    files_end_at,
    in_one_batch,
    make_database,
    names,
    no_room,
    stored,
    stored_names,
)

LARGE = "x" * 1_000_000
"""More than there is room for: SQLite rolls back the whole transaction."""


class Faulty(sqlite3.Connection):
    """Refuses a statement as SQLite does when the disk fails, on each run but the first ones."""

    statement: str
    good_runs: int

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == self.statement:
            self.good_runs -= 1
            if self.good_runs < 0:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorname, error.sqlite_errorcode = "SQLITE_IOERR", 10
                raise error
        return super().execute(sql, parameters)


async def test_a_full_disk_in_the_second_run_fails_the_batch_and_no_more(
    pool: AsyncConnectionPool,
) -> None:
    async with no_room(pool):
        results = await in_one_batch(
            pool, adding(pool, "a"), Changing(pool, "small", LARGE), Failing(pool)
        )
        assert [type(result) for result in results] == [DatabaseFull] * 4
        assert len({id(result) for result in results}) == 4
    assert pool.writer.stats.failed_units == 4
    assert pool.writer.poisoned is None
    assert await names(pool) == []
    await pool.run_unit(adding(pool, "next"))
    assert await names(pool) == ["next"]
    await assert_at_rest(pool)


async def test_a_unit_that_loses_the_transaction_in_its_second_run_fails_the_batch(
    pool: AsyncConnectionPool,
) -> None:
    """The unit that was run last is not told of the repetition, whatever happens to the others."""

    class Ending(Changing):
        async def __call__(self) -> str:
            async with self.pool.transaction() as tx:
                await tx.execute(self.names.pop(0))
            return "ended"

    early = Failing(pool, runs=0, name="early")
    failing = Failing(pool)
    results = await in_one_batch(
        pool, Ending(pool, "UPDATE items SET amount = 1", "ROLLBACK"), early, failing
    )
    assert [type(result) for result in results] == [TransactionLost] * 4
    # Nothing was run outside a transaction.
    assert (early.runs, failing.runs) == (1, 1)
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_an_error_that_a_unit_had_before_stays_its_own(pool: AsyncConnectionPool) -> None:
    async def refused() -> None:
        raise KeyError("mine")

    async with no_room(pool):
        results = await in_one_batch(
            pool, Changing(pool, "small", LARGE), refused, Failing(pool), adding(pool, "later")
        )
    assert [type(result) for result in results] == [
        *(DatabaseFull, DatabaseFull, KeyError),
        *(DatabaseFull, int),
    ]
    assert await names(pool) == ["later"]


@pytest.fixture
def written(pool: AsyncConnectionPool) -> Written:
    """What the pool's units have appended."""
    written = Written()
    pool.journal.write_entries = written
    return written


async def test_a_commit_that_is_refused_after_the_second_run_fails_the_batch(
    pool: AsyncConnectionPool, written: Written
) -> None:
    async def orphan() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO parts (item_id) VALUES (4711)")
            await tx.append(["orphan"])

    followed: list[str] = []
    pool.journal.on_commit = lambda: followed.append("commit")
    results = await in_one_batch(pool, orphan, Failing(pool))
    assert [type(result) for result in results] == [TransactionLost, TransactionLost, KeyError]
    # The other units have failed already, so the reason is known.
    with pytest.raises(ForeignKeyViolation):
        await pool.run_unit(orphan)
    assert written.batches == [["orphan"], ["orphan"]]
    assert (await names(pool), await stored(pool), followed) == ([], [], [])
    stats = pool.writer.stats
    assert (stats.repeated_batches, stats.commits, stats.failed_commits) == (1, 0, 2)
    await assert_at_rest(pool)


async def test_entries_that_can_not_be_written_after_the_second_run_fail_the_batch(
    pool: AsyncConnectionPool, written: Written
) -> None:
    async def item() -> None:
        async with pool.transaction() as tx:
            await tx.append(["of the item"])

    async with no_room(pool):
        await in_one_batch(pool, item, Failing(pool))
        written.batches.clear()

        async def large() -> None:
            async with pool.transaction() as tx:
                await tx.append([LARGE])

        pool.writer._batches.savepoints._until.clear()
        await pool.execute("DELETE FROM items")
        results = await in_one_batch(pool, large, Failing(pool))
        assert [type(result) for result in results] == [DatabaseFull, DatabaseFull, KeyError]
    assert await stored(pool) == ["of the item"]
    assert await names(pool) == []
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
    poisonable = Poisoned(ConnectionConfig(path, readers=1, batch_seconds=60))
    await poisonable.pool.open()
    yield poisonable
    await poisonable.pool.close()


async def test_a_commit_with_an_unknown_outcome_after_the_second_run_stops_the_writer(
    poisonable: Poisoned,
) -> None:
    pool = poisonable.pool
    await pool.run_unit(adding(pool, "kept"))
    assert await pool.writer.checkpoint()
    size = pool._config.wal_path.stat().st_size
    with files_end_at(size):
        results = await in_one_batch(pool, Failing(pool), adding(pool, "last"))
    assert [type(result) for result in results] == [
        *(CommitOutcomeUnknown, KeyError),
        CommitOutcomeUnknown,
    ]
    assert isinstance(pool.writer.poisoned, CommitOutcomeUnknown)
    assert poisonable.errors == [pool.writer.poisoned]
    assert pool.writer.stats.repeated_batches == 1
    with pytest.raises(DatabaseClosed):
        await pool.run_unit(adding(pool, "refused"))
    await pool.close()
    assert stored_names(pool._config.path) in (["kept"], ["first", "kept", "last"])


@pytest.mark.parametrize(
    ("statement", "good_runs"),
    [("ROLLBACK", 0), ("BEGIN IMMEDIATE", 1), ("SAVEPOINT unit", 0), ("SAVEPOINT unit", 2)],
)
async def test_a_disk_that_fails_between_the_runs_fails_the_batch(
    poisonable: Poisoned, statement: str, good_runs: int
) -> None:
    pool = poisonable.pool
    connection = pool.writer._connection
    faulty = sqlite3.connect(
        pool._config.path, isolation_level=None, check_same_thread=False, factory=Faulty
    )
    faulty.row_factory = sqlite3.Row
    faulty.statement, faulty.good_runs = statement, good_runs
    ordinary, connection._connection = connection._connection, faulty
    results = await in_one_batch(pool, adding(pool, "a"), Failing(pool))
    while pool.writer._hop is not None:
        # The writer's thread answers the batch before it stops.
        await asyncio.sleep(0)
    connection._connection = ordinary
    faulty.close()
    if statement == "SAVEPOINT unit":
        # A unit that got no savepoint fails alone, because SQLite goes on.
        assert [type(result) for result in results[good_runs:]] == [DatabaseUnavailable] * (
            3 - good_runs
        )
        assert pool.writer.poisoned is None
    else:
        assert [type(result) for result in results] == [DatabaseUnavailable] * 3
        assert (pool.writer.poisoned is None) == (statement == "BEGIN IMMEDIATE")
    assert "MustRunAgain" not in str(results)
