"""Entries that units append: written once a batch, together with the changes or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from database.engine import Executor
from database.errors import (
    CheckViolation,
    CommitOutcomeUnknown,
    DatabaseError,
    DatabaseFull,
    TransactionLost,
    UnitOfWorkError,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.transaction import Work
from tests.database.engine import (
    Gate,
    Written,
    adding,
    adding_at,
    files_end_at,
    names,
    outcomes,
    stored,
)


@pytest.fixture
def written(pool: AsyncConnectionPool) -> Written:
    """What the pool's units have appended."""
    written = Written()
    pool.journal.write_entries = written
    return written


def recording(pool: AsyncConnectionPool, name: str, error: Exception | None = None) -> Work[None]:
    """A unit that adds an item and appends an entry, and then raises `error` if there is one."""

    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES (?)", (name,))
            await tx.append([name])
            if error is not None:
                raise error

    return work


async def lose(pool: AsyncConnectionPool, entry: str) -> None:
    """Append an entry in a block that raises `KeyError`."""
    async with pool.transaction() as tx:
        await tx.append([entry])
        raise KeyError


async def add_and_append(pool: AsyncConnectionPool) -> None:
    async with pool.transaction() as tx:
        await tx.execute("INSERT INTO items (name) VALUES ('item')")
        await tx.append(["a"])


async def batch(pool: AsyncConnectionPool, *units: Work[Any]) -> list[Any]:
    """The outcomes of units that share one batch with an item `first`."""
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    others = [asyncio.create_task(pool.run_unit(unit)) for unit in units]
    await asyncio.sleep(0)
    gate.open()
    return await outcomes((first, *others))


async def test_the_entries_of_a_batch_are_written_together_in_the_order_of_its_units(
    pool: AsyncConnectionPool, written: Written
) -> None:
    await batch(pool, *(recording(pool, f"n{n}") for n in range(40)))
    assert written.batches == [[f"n{n}" for n in range(40)]]
    assert await stored(pool) == written.batches[0]
    assert pool.writer.stats.commits == 1


async def test_a_unit_that_fails_leaves_no_entry(
    pool: AsyncConnectionPool, written: Written
) -> None:
    results = await batch(
        pool, recording(pool, "a"), recording(pool, "b", KeyError("mine")), recording(pool, "c")
    )
    assert [type(result) for result in results[1:]] == [type(None), KeyError, type(None)]
    assert written.batches == [["a", "c"]]
    assert await names(pool) == ["a", "c", "first"]


@pytest.mark.usefixtures("written")
async def test_a_block_that_fails_leaves_no_entry_and_its_unit_keeps_its_own(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.append(["before"])
        with pytest.raises(KeyError):
            await lose(pool, "lost")
        async with pool.transaction() as outer:
            await outer.append(["outer"])
            with pytest.raises(KeyError):
                await lose(pool, "lost as well")
            await outer.append(["after"])

    await pool.run_unit(work)
    assert await stored(pool) == ["before", "outer", "after"]


@pytest.mark.usefixtures("written")
async def test_a_unit_whose_first_block_fails_can_go_on_without_its_entries(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        with pytest.raises(KeyError):
            await lose(pool, "lost")
        async with pool.transaction() as tx:
            await tx.append(["kept"])

    await pool.run_unit(work)
    assert await stored(pool) == ["kept"]


async def test_entries_that_can_not_be_written_fail_the_whole_batch(
    pool: AsyncConnectionPool, written: Written
) -> None:
    async def refused(executor: Executor, entries: Sequence[Any]) -> None:
        await written(executor, entries)
        await executor.execute("INSERT INTO items (name, amount) VALUES ('bad', -1)")

    pool.journal.write_entries = refused
    results = await batch(pool, recording(pool, "a"), recording(pool, "b", KeyError("mine")))
    assert [type(result) for result in results] == [TransactionLost, TransactionLost, KeyError]
    # A unit that is alone in its batch gets the error itself.
    with pytest.raises(CheckViolation):
        await pool.run_unit(recording(pool, "c"))
    assert await names(pool) == []
    assert await stored(pool) == []
    # Entries of a batch that was rolled back are not written later.
    pool.journal.write_entries = written
    await pool.run_unit(recording(pool, "d"))
    assert written.batches[-1] == ["d"]
    assert await names(pool) == ["d"]


@pytest.mark.usefixtures("written")
async def test_a_full_disk_is_told_to_every_unit_of_the_batch(pool: AsyncConnectionPool) -> None:
    async def full(_: Executor, entries: Sequence[Any]) -> None:
        raise DatabaseFull(f"no room for {len(entries)}")

    pool.journal.write_entries = full
    results = await batch(pool, recording(pool, "a"), adding(pool, "b"))
    assert [type(result) for result in results] == [DatabaseFull] * 3
    assert len({id(result) for result in results}) == 3
    assert await names(pool) == []
    assert pool.stats()["poisoned"] is False


async def test_a_fault_of_the_writing_function_fails_its_batch_and_not_the_writer(
    pool: AsyncConnectionPool, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Executor, entries: Sequence[Any]) -> None:
        raise KeyError(entries)

    pool.journal.write_entries = broken
    with pytest.raises(TransactionLost, match="KeyError"):
        await pool.run_unit(recording(pool, "a"))
    assert "could not be written" in caplog.text
    pool.journal.write_entries = Written()
    await pool.run_unit(recording(pool, "b"))
    assert await names(pool) == ["b"]


async def test_an_interactive_transaction_writes_its_entries_at_its_end(
    pool: AsyncConnectionPool, written: Written
) -> None:
    async with pool.transaction() as tx:
        await tx.append(["a"])
        await tx.execute("INSERT INTO items (name) VALUES ('item')")
        await tx.append(["b"])
        assert await tx.fetch_all("SELECT * FROM parts") == []
    assert written.batches == [["a", "b"]]
    assert await stored(pool) == ["a", "b"]
    with pytest.raises(UnitOfWorkError):
        await tx.append(["late"])


@pytest.mark.usefixtures("written")
async def test_an_interactive_transaction_that_fails_leaves_no_entry(
    pool: AsyncConnectionPool,
) -> None:
    with pytest.raises(KeyError):
        await lose(pool, "lost")
    await pool.append(["kept"])
    assert await stored(pool) == ["kept"]


async def test_an_interactive_transaction_whose_entries_can_not_be_written_is_rolled_back(
    pool: AsyncConnectionPool,
) -> None:
    async def refused(executor: Executor, _: Sequence[Any]) -> None:
        await executor.execute("INSERT INTO items (name, amount) VALUES ('bad', -1)")

    pool.journal.write_entries = refused
    with pytest.raises(CheckViolation):
        await add_and_append(pool)
    assert await names(pool) == []
    await pool.run_unit(adding(pool, "later"))
    assert await names(pool) == ["later"]


@pytest.mark.usefixtures("written")
async def test_the_tables_that_entries_change_count_as_changed(pool: AsyncConnectionPool) -> None:
    version = pool.table_versions.counting([("parts", "insert")])
    before = version.version
    await pool.run_unit(adding(pool, "without an entry"))
    assert version.version == before
    await pool.run_unit(recording(pool, "with an entry"))
    assert version.version != before


async def test_entries_need_a_unit_that_writes_and_a_function_that_writes_them(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.append(["a"])

    with pytest.raises(UnitOfWorkError, match="no function"):
        await pool.run_unit(work)
    pool.journal.write_entries = Written()
    with pytest.raises(UnitOfWorkError, match="that writes"):
        await pool.run_unit(work, read_only=True)
    await pool.run_unit(work)
    assert await stored(pool) == ["a"]


async def test_the_writing_function_awaits_only_its_statements(
    pool: AsyncConnectionPool,
) -> None:
    async def waiting(_: Executor, entries: Sequence[Any]) -> None:
        await asyncio.sleep(len(entries))

    pool.journal.write_entries = waiting
    with pytest.raises(DatabaseError):
        await pool.run_unit(recording(pool, "a"))
    assert await names(pool) == []


@pytest.fixture
def followed(pool: AsyncConnectionPool, written: Written) -> list[list[str]]:
    """The entries of each transaction that `on_commit` was called for."""
    followed: list[list[str]] = []
    pool.journal.on_commit = lambda: followed.append(written.batches[-1])
    return followed


async def test_a_commit_with_entries_is_followed_once_before_its_units_are_answered(
    pool: AsyncConnectionPool, followed: list[list[str]]
) -> None:
    def then(unit: Work[None]) -> Work[None]:
        async def work() -> None:
            await unit()
            seen.append(len(followed))

        return work

    seen: list[int] = []
    await batch(pool, then(recording(pool, "a")), then(recording(pool, "b")))
    assert seen == [0, 0]
    assert followed == [["a", "b"]]
    await pool.run_unit(recording(pool, "c"))
    assert followed[1:] == [["c"]]
    async with pool.transaction() as tx:
        await tx.append(["d"])
    assert followed[2:] == [["d"]]


async def orphan(pool: AsyncConnectionPool) -> None:
    """A unit whose COMMIT is refused."""
    async with pool.transaction() as tx:
        await tx.execute("INSERT INTO parts (body, item_id) VALUES ('orphan', 99)")
        await tx.append(["orphan"])


async def test_what_was_not_committed_is_not_followed_also_not_by_the_next_commit(
    pool: AsyncConnectionPool, followed: list[list[str]]
) -> None:
    with pytest.raises(KeyError):
        await pool.run_unit(recording(pool, "a", KeyError("mine")))
    with pytest.raises(KeyError):
        await lose(pool, "b")
    with pytest.raises(DatabaseError):
        await pool.run_unit(lambda: orphan(pool))
    await pool.run_unit(adding(pool, "without an entry"))
    assert followed == []
    assert await names(pool) == ["without an entry"]


async def test_a_commit_with_an_unknown_outcome_is_not_followed(
    pool: AsyncConnectionPool, followed: list[list[str]]
) -> None:
    await pool.run_unit(recording(pool, "a"))
    assert await pool.writer.checkpoint()
    end_of_the_log = pool._config.wal_path.stat().st_size
    with files_end_at(end_of_the_log), pytest.raises(CommitOutcomeUnknown):
        await pool.run_unit(recording(pool, "b"))
    assert followed == [["a"]]


@pytest.mark.usefixtures("written")
async def test_a_fault_after_a_commit_fails_no_unit(
    pool: AsyncConnectionPool, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise KeyError

    pool.journal.on_commit = broken
    await pool.run_unit(recording(pool, "a"))
    assert "the step that follows a commit failed" in caplog.text
    assert await names(pool) == ["a"]
    assert pool.stats()["poisoned"] is False
