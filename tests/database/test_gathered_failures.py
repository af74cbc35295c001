"""Gathered rows that can't be stored fail the unit that gathered them, and no other."""

import contextlib
from collections.abc import Callable, Sequence

import pytest

from database.engine import Executor, Transaction
from database.errors import (
    CheckViolation,
    DatabaseError,
    DatabaseFull,
    TransactionLost,
    UniqueViolation,
    UnitOfWorkError,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.savepoints import REMEMBERED_SECONDS, Savepoints
from tests.database.engine import (
    Clock,
    Written,
    adding,
    assert_at_rest,
    in_one_batch,
    names,
    no_room,
    stored,
)
from tests.database.gathered import (
    ADD,
    Gathering,
    GatheringToo,
    Step,
    Store,
    all_of,
    fail,
    read_and_fail,
    seen,
    wait,
)


class Ended(BaseException):
    """Like `KeyboardInterrupt`, it is not an `Exception`."""


class Faulty(Store):
    """Fails in its own way when it is given the row `bad`, before or after it has written."""

    def __init__(self, error: type[BaseException], *, late: bool = False) -> None:
        super().__init__()
        self.error = error
        self.late = late

    async def __call__(self, executor: Executor, rows: Sequence[str]) -> None:
        if self.late:
            await super().__call__(executor, rows)
        if "bad" in rows:
            if self.error is UniqueViolation:
                await executor.execute(f"{ADD}, (?)", ("twice", "twice"))
            elif self.error is CheckViolation:
                await executor.execute("INSERT INTO items (name, amount) VALUES ('bad', -1)")
            elif self.error is UnitOfWorkError:
                await wait(executor)
            else:
                raise self.error
        if not self.late:
            await super().__call__(executor, rows)


ERRORS = (UniqueViolation, CheckViolation, UnitOfWorkError, KeyError, StopIteration, Ended)


def _at_the_end(pool: AsyncConnectionPool, write: Store) -> list[Gathering]:
    return [Gathering(pool, write, "after")]


def _before_a_statement(pool: AsyncConnectionPool, write: Store) -> list[Gathering]:
    return [Gathering(pool, write, "after", step=seen)]


def _before_a_statement_whose_failure_is_caught(
    pool: AsyncConnectionPool, write: Store
) -> list[Gathering]:
    async def step(tx: Transaction) -> None:
        with contextlib.suppress(BaseException):
            await seen(tx)

    return [Gathering(pool, write, "after", step=step)]


def _with_many_rows(pool: AsyncConnectionPool, write: Store) -> list[Gathering]:
    return [Gathering(pool, write, "after", *(f"row {row}" for row in range(200)))]


def _before_another_function(pool: AsyncConnectionPool, _: Store) -> list[Gathering]:
    return [Gathering(pool, Store(), "after")]


def _before_another_kind(pool: AsyncConnectionPool, write: Store) -> list[Gathering]:
    return [GatheringToo(pool, write, "after")]


def _before_a_failure(pool: AsyncConnectionPool, write: Store) -> list[Gathering]:
    return [Gathering(pool, write, "after"), Gathering(pool, write, "lost", step=read_and_fail)]


WAYS = (
    *(_at_the_end, _before_a_statement, _before_a_statement_whose_failure_is_caught),
    *(_with_many_rows, _before_another_function, _before_another_kind, _before_a_failure),
)


def told(name: str) -> Step:
    return lambda tx: tx.append([name])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", ERRORS)
async def test_rows_that_are_refused_fail_their_own_unit_only(
    pool: AsyncConnectionPool,
    error: type[BaseException],
    late: bool,
    way: Callable[[AsyncConnectionPool, Store], list[Gathering]],
) -> None:
    pool.journal.write_entries = Written()
    write = Faulty(error, late=late)
    others = way(pool, write)
    results = await in_one_batch(
        pool,
        Gathering(pool, write, "before", step=told("before")),
        Gathering(pool, write, "bad", step=told("lost")),
        *others,
    )
    expected = RuntimeError if error is StopIteration else error
    assert [type(result) for result in results[:3]] == [int, type(None), expected]
    kept = ["before", *others[0].rows]
    assert not isinstance(results[3], BaseException)
    assert await seen(pool) == ["first", *kept]
    assert await stored(pool) == ["before"]
    stats = pool.writer.stats
    assert (stats.repeated_batches, stats.commits, stats.failed_commits) == (1, 1, 0)
    await assert_at_rest(pool)


@pytest.mark.parametrize("step", [fail, read_and_fail, wait])
async def test_a_unit_that_fails_leaves_none_of_its_rows(
    pool: AsyncConnectionPool, step: Step
) -> None:
    store = Store()
    results = await in_one_batch(
        pool,
        Gathering(pool, store, "before"),
        Gathering(pool, store, "lost", "lost too", step=step),
        Gathering(pool, store, "after"),
    )
    assert isinstance(results[2], UnitOfWorkError if step is wait else KeyError)
    assert await seen(pool) == ["first", "before", "after"]
    # Rows that were not written yet are dropped without a second run.
    assert pool.writer.stats.repeated_batches == (step is read_and_fail)
    assert ["before", "after"] in store.writes or step is read_and_fail
    await assert_at_rest(pool)


@pytest.mark.parametrize("step", [fail, read_and_fail])
async def test_a_block_that_fails_leaves_none_of_its_rows(
    pool: AsyncConnectionPool, step: Step
) -> None:
    store = Store()

    async def nested(_: Transaction) -> None:
        with contextlib.suppress(KeyError):
            await Gathering(pool, store, "lost", step=step)()
        await Gathering(pool, store, "kept too")()

    await in_one_batch(
        pool,
        Gathering(pool, store, "before"),
        Gathering(pool, store, "kept", step=nested),
        Gathering(pool, store, "after"),
    )
    assert await seen(pool) == ["first", "before", "kept", "kept too", "after"]
    await assert_at_rest(pool)


async def test_what_waits_is_dropped_with_its_unit_when_what_was_written_changed_nothing(
    pool: AsyncConnectionPool,
) -> None:
    """There is nothing to undo in the database, so the batch is not run again."""

    class Choosing(Store):
        async def __call__(self, executor: Executor, rows: Sequence[str]) -> None:
            await super().__call__(executor, [row for row in rows if row != "ignored"])

    store = Choosing()
    then_lose = all_of(seen, lambda tx: tx.gather(store, ["lost"]), fail)

    async def catch(tx: Transaction) -> None:
        with contextlib.suppress(KeyError):
            await Gathering(pool, store, "ignored", step=then_lose)()
        await tx.gather(store, ["kept"])

    results = await in_one_batch(
        pool,
        Gathering(pool, store, *["ignored"] * 10),
        Gathering(pool, store, "ignored", step=then_lose),
        Gathering(pool, store, *["ignored"] * 10),
        Gathering(pool, store, "ignored", step=catch),
    )
    assert [type(result) for result in results[1:]] == [type(None), KeyError, *[type(None)] * 2]
    assert await seen(pool) == ["first", "kept"]
    assert pool.writer.stats.repeated_batches == 0


async def test_a_kind_whose_rows_were_refused_stores_them_alone_for_a_minute(
    pool: AsyncConnectionPool,
) -> None:
    clock = Clock()
    pool.writer._batches.savepoints = Savepoints(clock)
    write = Faulty(CheckViolation)

    async def batch(kind: type[Gathering], *rows: str) -> int:
        write.writes.clear()
        await in_one_batch(pool, *(kind(pool, write, row) for row in rows))
        await pool.execute("DELETE FROM items")
        return pool.writer.stats.repeated_batches

    assert await batch(Gathering, "a", "bad", "b") == 1
    assert await batch(Gathering, "a", "bad", "b") == 1
    assert write.writes == [["a"], ["b"]]
    assert await batch(GatheringToo, "a", "b") == 1
    assert write.writes == [["a", "b"]]
    clock.now += REMEMBERED_SECONDS
    assert await batch(Gathering, "a", "b") == 1
    assert write.writes == [["a", "b"]]


async def test_rows_that_fail_only_together_are_stored_one_after_the_other(
    pool: AsyncConnectionPool,
) -> None:
    class Alone(Store):
        async def __call__(self, executor: Executor, rows: Sequence[str]) -> None:
            if len(rows) > 1:
                raise LookupError("too many")
            await super().__call__(executor, rows)

    store = Alone()
    results = await in_one_batch(pool, *(Gathering(pool, store, name) for name in "abc"))
    assert results[1:] == [None] * 3
    assert await seen(pool) == ["first", "a", "b", "c"]


class Ending(Store):
    """Ends the transaction with a statement when it is given the row `bad`."""

    def __init__(self, *, swallows: bool) -> None:
        super().__init__()
        self.swallows = swallows

    async def __call__(self, executor: Executor, rows: Sequence[str]) -> None:
        await super().__call__(executor, rows)
        if "bad" in rows:
            with (
                contextlib.suppress(UniqueViolation) if self.swallows else contextlib.nullcontext()
            ):
                await executor.execute("INSERT OR ROLLBACK INTO items (name) VALUES ('a'), ('a')")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("swallows", [False, True])
async def test_a_function_that_ends_the_transaction_fails_the_batch(
    pool: AsyncConnectionPool,
    swallows: bool,
    way: Callable[[AsyncConnectionPool, Store], list[Gathering]],
) -> None:
    write = Ending(swallows=swallows)
    results = await in_one_batch(
        pool,
        Gathering(pool, write, "before"),
        Gathering(pool, write, "bad"),
        *way(pool, write),
    )
    # Units that come after the end may be in the next batch, or not have been reached.
    assert all(isinstance(result, TransactionLost) for result in results[:3])
    assert await names(pool) == []
    assert await pool.run_unit(adding(pool, "next")) == 1
    await assert_at_rest(pool)


@pytest.mark.parametrize("way", WAYS)
async def test_no_row_is_acknowledged_that_a_full_disk_refused(
    pool: AsyncConnectionPool,
    way: Callable[[AsyncConnectionPool, Store], list[Gathering]],
) -> None:
    store = Store()
    units = [
        Gathering(pool, store, "before"),
        Gathering(pool, store, "x" * 1_000_000),
        *way(pool, store),
    ]
    async with no_room(pool):
        results = await in_one_batch(pool, *units)
    there = set(await names(pool))
    for unit, result in zip(units, results[1:], strict=True):
        assert there.issuperset(unit.rows) == (not isinstance(result, BaseException))
        assert result is None or isinstance(result, (DatabaseError, list))
    assert isinstance(results[2], DatabaseFull)
    await assert_at_rest(pool)
