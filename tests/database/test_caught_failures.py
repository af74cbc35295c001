"""Units that catch a failure and go on, without a savepoint: their block is undone all the same."""

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from database.errors import (
    CheckViolation,
    DatabaseFull,
    DatabaseReadOnly,
    TransactionLost,
    UniqueViolation,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.statements import MustRunAgain
from database.sqlite.transaction import unit_transaction
from tests.database.engine import (
    Written,
    adding,
    assert_at_rest,
    in_one_batch,
    names,
    no_room,
    stored,
)

ADD = "INSERT INTO items (name, amount) VALUES (?, ?)"
LARGE = "x" * 1_000_000


@pytest.fixture
def written(pool: AsyncConnectionPool) -> Written:
    """What the pool's units have appended."""
    written = Written()
    pool.journal.write_entries = written
    return written


async def block(pool: AsyncConnectionPool, name: str, *, fails: bool) -> None:
    """Add an item and an entry, and then fail or not."""
    async with pool.transaction() as tx:
        await tx.execute(ADD, (name, 0))
        await tx.append([name])
        if fails:
            await tx.execute(ADD, (name, 0))


async def caught(pool: AsyncConnectionPool, name: str) -> None:
    with contextlib.suppress(UniqueViolation):
        await block(pool, name, fails=True)


async def _beside(pool: AsyncConnectionPool) -> None:
    await block(pool, "kept", fails=False)
    await caught(pool, "lost")
    await block(pool, "kept too", fails=False)


async def _inside(pool: AsyncConnectionPool) -> None:
    async with pool.transaction() as tx:
        await tx.execute(ADD, ("kept", 0))
        await tx.append(["kept"])
        await caught(pool, "lost")
        await tx.execute(ADD, ("kept too", 0))
        await tx.append(["kept too"])


async def _deep_inside(pool: AsyncConnectionPool) -> None:
    async with pool.transaction() as tx:
        await tx.execute(ADD, ("kept", 0))
        await tx.append(["kept"])
        async with pool.transaction():
            await caught(pool, "lost")
            await caught(pool, "kept")
        await block(pool, "kept too", fails=False)


async def _at_the_end(pool: AsyncConnectionPool) -> None:
    await block(pool, "kept", fails=False)
    await block(pool, "kept too", fails=False)
    await caught(pool, "lost")


async def _outer_block_of_a_nested_one(pool: AsyncConnectionPool) -> None:
    await block(pool, "kept", fails=False)
    with contextlib.suppress(KeyError):
        async with pool.transaction():
            await block(pool, "lost", fails=False)
            raise KeyError
    await block(pool, "kept too", fails=False)


async def _everything(pool: AsyncConnectionPool) -> None:
    await block(pool, "kept", fails=False)
    with contextlib.suppress(BaseException):
        await block(pool, "lost", fails=True)
    with contextlib.suppress(BaseException):
        # In the first run, this is where the repetition is asked for.
        await block(pool, "kept too", fails=False)


async def _as_a_step_of_another(pool: AsyncConnectionPool) -> None:
    """A unit that calls others, which then join it, as use cases do."""

    async def step(name: str, *, fails: bool) -> None:
        await block(pool, name, fails=False)
        if fails:
            raise KeyError(name)

    await step("kept", fails=False)
    with contextlib.suppress(KeyError):
        # Its block has ended well, so the unit keeps it, with a savepoint or without.
        await step("kept too", fails=True)
    await caught(pool, "lost")


Way = Callable[[AsyncConnectionPool], Coroutine[Any, Any, None]]
WAYS: tuple[Way, ...] = (
    _beside,
    _inside,
    _deep_inside,
    _at_the_end,
    _outer_block_of_a_nested_one,
    _everything,
    _as_a_step_of_another,
)


@pytest.mark.parametrize("way", WAYS)
async def test_a_unit_that_goes_on_after_a_late_failure_keeps_what_its_other_blocks_did(
    pool: AsyncConnectionPool, written: Written, way: Way
) -> None:
    async def work() -> None:
        await way(pool)

    results = await in_one_batch(pool, adding(pool, "before"), work, adding(pool, "after"))
    assert [type(result) for result in results] == [int, int, type(None), int]
    assert await names(pool) == ["after", "before", "first", "kept", "kept too"]
    assert written.batches == [["kept", "kept too"]]
    assert pool.writer.stats.repeated_batches == 1
    # With a savepoint, and alone.
    await pool.execute("DELETE FROM items")
    await pool.run_unit(work)
    assert await names(pool) == ["kept", "kept too"]
    assert await stored(pool) == ["kept", "kept too"] * 2
    assert pool.writer.stats.repeated_batches == 1
    assert pool.writer.stats.failed_units == 0
    await assert_at_rest(pool)


async def test_a_failure_that_changed_nothing_is_caught_without_a_repetition(
    pool: AsyncConnectionPool, written: Written
) -> None:
    async def refused() -> None:
        async with pool.transaction() as tx:
            await tx.append(["lost"])
            await tx.execute(ADD, ("negative", -1))

    async def work() -> None:
        await block(pool, "kept", fails=False)
        with pytest.raises(CheckViolation):
            await refused()
        await block(pool, "kept too", fails=False)

    await pool.run_unit(work)
    assert written.batches == [["kept", "kept too"]]
    assert await names(pool) == ["kept", "kept too"]
    assert pool.writer.stats.repeated_batches == 0


async def test_many_rows_that_are_refused_are_undone_without_a_repetition(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            with pytest.raises(UniqueViolation):
                await tx.execute_many(ADD, [(f"row {row % 30}", 0) for row in range(40)])
            await tx.execute(ADD, ("kept", 0))

    await pool.run_unit(work)
    assert await names(pool) == ["kept"]
    assert pool.writer.stats.repeated_batches == 0


async def test_a_unit_that_swallows_the_repetition_is_repeated_all_the_same(
    pool: AsyncConnectionPool, written: Written
) -> None:
    runs: list[str] = []

    async def work() -> None:
        runs.append("run")
        await caught(pool, "lost")
        for _ in range(3):
            try:
                async with unit_transaction():
                    runs.append("block")
            except MustRunAgain:
                runs.append("swallowed")

    results = await in_one_batch(pool, adding(pool, "before"), work)
    assert [type(result) for result in results] == [int, int, type(None)]
    assert runs == ["run", *["swallowed"] * 3, "run", *["block"] * 3]
    assert await names(pool) == ["before", "first"]
    assert written.batches == []


async def test_an_attempt_that_is_made_until_it_succeeds_ends(pool: AsyncConnectionPool) -> None:
    """The block after a failed one is refused, so the unit can't take what should have been undone
    for something that is there."""

    async def attempt(number: int) -> bool:
        try:
            async with pool.transaction() as tx:
                await tx.execute(ADD, (f"try {number}", 0))
                row = await tx.fetch_one("SELECT count(*) FROM items")
                assert row is not None
                # Never true if what was added by failed attempts stays.
                if row[0] != 2 or number < 5:
                    raise KeyError
        except KeyError:
            return False
        return True

    async def work() -> int:
        number = 0
        while not await attempt(number):
            number += 1
        return number

    results = await in_one_batch(pool, work)
    assert results[1] == 5
    assert await names(pool) == ["first", "try 5"]


@pytest.mark.usefixtures("written")
async def test_a_failure_that_replaces_the_repetition_is_none(pool: AsyncConnectionPool) -> None:
    """What a unit raises although its changes should have been undone is not what it raises with a
    savepoint."""

    async def work() -> None:
        await caught(pool, "name")
        row = None
        with contextlib.suppress(BaseException):
            async with pool.transaction() as tx:
                row = await tx.fetch_one("SELECT 1 FROM items WHERE name = 'name'")
        if row is not None:
            raise KeyError("what was undone is there")
        raise ValueError("nothing is there")

    with pytest.raises(ValueError, match="nothing is there"):
        await pool.run_unit(work)
    assert await names(pool) == []


async def test_a_lost_transaction_is_not_repeated(pool: AsyncConnectionPool) -> None:
    runs: list[int] = []

    async def lose() -> None:
        async with pool.transaction() as tx:
            await tx.execute(ADD, ("before", 0))
            await tx.execute(ADD, (LARGE, 0))

    async def work() -> None:
        runs.append(1)
        with pytest.raises(DatabaseFull):
            await lose()
        with pytest.raises(TransactionLost):
            await lose()

    async with no_room(pool):
        results = await in_one_batch(pool, work)
        assert [type(result) for result in results] == [TransactionLost] * 2
        # Also if the failure of a block was caught before.
        results = await in_one_batch(pool, lambda: _caught_and_lost(pool))
        assert [type(result) for result in results] == [DatabaseFull] * 2
    assert runs == [1]
    assert await names(pool) == []
    assert pool.writer.stats.repeated_batches == 0
    await assert_at_rest(pool)


async def _caught_and_lost(pool: AsyncConnectionPool) -> None:
    async with pool.transaction() as tx:
        with contextlib.suppress(KeyError):
            async with pool.transaction() as inner:
                await inner.execute(ADD, ("lost", 0))
                raise KeyError
        await tx.execute(ADD, (LARGE, 0))


@pytest.mark.usefixtures("written")
async def test_a_unit_that_catches_all_until_the_transaction_is_lost_fails_like_the_batch(
    pool: AsyncConnectionPool,
) -> None:
    async def work() -> None:
        async with pool.transaction() as tx:
            await caught(pool, "lost")
            with contextlib.suppress(UniqueViolation):
                await tx.execute("INSERT OR ROLLBACK INTO items (name) VALUES ('a'), ('a')")

    results = await in_one_batch(pool, adding(pool, "before"), work)
    assert [type(result) for result in results] == [TransactionLost] * 3
    assert await names(pool) == []
    await assert_at_rest(pool)


async def test_a_reading_unit_catches_failures_as_it_did(pool: AsyncConnectionPool) -> None:
    async def refused() -> None:
        async with pool.transaction() as tx:
            await tx.execute(ADD, ("not for readers", 0))

    async def work() -> int:
        with pytest.raises(DatabaseReadOnly):
            await refused()
        async with pool.transaction() as tx:
            row = await tx.fetch_one("SELECT count(*) FROM items")
            assert row is not None
            return int(row[0])

    await pool.run_unit(adding(pool, "one"))
    assert await pool.run_unit(work, read_only=True) == 1
    assert await names(pool) == ["one"]
