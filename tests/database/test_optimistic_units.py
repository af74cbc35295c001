"""Units run without a savepoint: one that fails late is undone alone all the same."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from database.engine import Transaction
from database.errors import (
    CheckViolation,
    DatabaseError,
    ForeignKeyViolation,
    StatementError,
    UniqueViolation,
    UnitOfWorkError,
)
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.transaction import InlineTransaction, Work
from tests.database.engine import (
    Written,
    assert_at_rest,
    in_one_batch,
    names,
    open_pool,
    stored,
)

SCHEMA = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT",
    """CREATE TABLE children (
        id INTEGER PRIMARY KEY,
        parent_id INTEGER NOT NULL REFERENCES parents (id) ON DELETE CASCADE
    ) STRICT""",
    "CREATE TABLE told (x TEXT) STRICT",
    """CREATE TRIGGER tell AFTER INSERT ON parents
        BEGIN INSERT INTO told VALUES (new.id); END""",
    """CREATE TRIGGER refuse AFTER INSERT ON parents WHEN new.id = 13
        BEGIN SELECT raise(FAIL, 'thirteen'); END""",
    "CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE) STRICT",
    "CREATE VIRTUAL TABLE words USING fts5 (body)",
    "INSERT INTO parents VALUES (1), (2)",
    "INSERT INTO children VALUES (1, 1), (2, 1), (3, 2)",
    "INSERT INTO numbered (name) VALUES ('taken')",
    "INSERT INTO words VALUES ('one two three')",
)
ADD = "INSERT INTO items (name) VALUES (?)"
MINE = KeyError("mine")


class Ended(BaseException):
    """Like `KeyboardInterrupt`, it is not an `Exception`."""


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[AsyncConnectionPool]:
    """A pool with more kinds of tables, and all waiting writes in one batch."""
    async with open_pool(tmp_path / "engine.db", readers=1, batch_seconds=60) as pool:
        for statement in SCHEMA:
            await pool.execute(statement)
        yield pool


@pytest.fixture
def written(pool: AsyncConnectionPool) -> Written:
    """What the pool's units have appended."""
    written = Written()
    pool.journal.write_entries = written
    return written


async def everything(pool: AsyncConnectionPool) -> list[object]:
    """All that the file stores: schema, rows, counters and settings."""
    return await pool.run_alone(
        lambda raw: [
            *raw.iterdump(),
            *map(tuple, raw.execute("SELECT * FROM sqlite_sequence")),
            *raw.execute("PRAGMA user_version").fetchone(),
        ]
    )


def recording(pool: AsyncConnectionPool, name: str) -> Work[None]:
    """A unit that adds an item and appends an entry of the same name."""

    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute(ADD, (name,))
            await tx.append([name])

    return work


Step = Callable[[Transaction], Awaitable[object]]


def running(pool: AsyncConnectionPool, step: Step) -> Work[None]:
    """A unit that appends an entry and runs the step in its block."""

    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.append(["lost"])
            await step(tx)

    return work


def then_raise(*statements: str, error: BaseException = MINE) -> Step:
    async def step(tx: Transaction) -> None:
        for statement in statements:
            await tx.execute(statement)
        raise error

    return step


def only(*statements: str) -> Step:
    async def step(tx: Transaction) -> None:
        for statement in statements:
            await tx.execute(statement)

    return step


def many(number: int, *, last: str) -> Step:
    rows = [(f"row {row}",) for row in range(number - 1)]
    return lambda tx: tx.execute_many(ADD, [*rows, (last,)])


async def with_a_cursor(tx: Transaction) -> None:
    assert isinstance(tx, InlineTransaction)
    tx.call(lambda raw, sql, _: raw.cursor().execute(sql).close(), "PRAGMA user_version = 7", ())
    raise MINE


KEPT_IN_PART = "INSERT OR FAIL INTO items (name) VALUES ('lost'), ('lost') RETURNING name"


async def returning(tx: Transaction) -> None:
    await tx.execute_returning(KEPT_IN_PART)


async def waiting(tx: Transaction) -> None:
    await tx.execute(ADD, ("lost",))
    await asyncio.sleep(0)


async def caught_and_gone_on(tx: Transaction) -> None:
    await tx.execute(ADD, ("lost",))
    with contextlib.suppress(UniqueViolation):
        await tx.execute(ADD, ("lost",))
    await tx.execute(ADD, ("lost as well",))
    raise MINE


LATE: dict[str, tuple[Step, type[BaseException]]] = {
    "a constraint": (only(ADD.replace("?", "'lost'"), ADD.replace("?", "'lost'")), UniqueViolation),
    "an error of its own": (then_raise(ADD.replace("?", "'lost'")), KeyError),
    "not an exception": (then_raise(ADD.replace("?", "'lost'"), error=Ended()), Ended),
    "awaits something": (waiting, UnitOfWorkError),
    "caught and gone on": (caught_and_gone_on, KeyError),
    "many rows": (many(40, last="row 3"), UniqueViolation),
    "RETURNING": (returning, UniqueViolation),
    "a cascade": (then_raise("DELETE FROM parents WHERE id = 1"), KeyError),
    "a trigger": (then_raise("INSERT INTO parents VALUES (7)"), KeyError),
    "a trigger that fails": (only("INSERT INTO parents VALUES (12), (13)"), DatabaseError),
    "an insert that keeps what it did": (
        only("INSERT OR FAIL INTO items (name) VALUES ('lost'), ('lost')"),
        UniqueViolation,
    ),
    "rows that replace others": (then_raise("REPLACE INTO numbered VALUES (1, 'new')"), KeyError),
    "a whole table": (then_raise("DELETE FROM children"), KeyError),
    "words": (then_raise("INSERT INTO words VALUES ('four')"), KeyError),
    "words again": (then_raise("INSERT INTO words (words) VALUES ('rebuild')"), KeyError),
    "fewer words": (then_raise("DELETE FROM words"), KeyError),
    "a setting of words": (
        then_raise("INSERT INTO words (words, rank) VALUES ('pgsz', 200)"),
        KeyError,
    ),
    "a table": (then_raise("CREATE TABLE made (x TEXT) STRICT"), KeyError),
    "a table less": (then_raise("DROP TABLE children"), KeyError),
    "a column": (then_raise("ALTER TABLE told ADD COLUMN y TEXT"), KeyError),
    "an index": (then_raise("CREATE INDEX by_x ON told (x)"), KeyError),
    "statistics": (then_raise("ANALYZE"), KeyError),
    "a version": (then_raise("PRAGMA user_version = 7"), KeyError),
    "a cursor": (with_a_cursor, KeyError),
    "a counter": (
        then_raise("INSERT INTO numbered (name) VALUES ('taken') ON CONFLICT DO NOTHING"),
        KeyError,
    ),
    "a counter of no rows": (
        then_raise("INSERT OR IGNORE INTO numbered (name) SELECT 'taken'"),
        KeyError,
    ),
    "a missing parent": (
        only("DELETE FROM told", "INSERT INTO children VALUES (9, 9)"),
        DatabaseError,
    ),
}


@pytest.mark.parametrize("how", LATE)
async def test_a_unit_that_fails_late_alone_leaves_nothing(
    pool: AsyncConnectionPool, written: Written, how: str
) -> None:
    step, error = LATE[how]
    before = await everything(pool)
    for _ in range(2):
        with pytest.raises(error) as caught:
            await pool.run_unit(running(pool, step))
        assert type(caught.value) is error or error is DatabaseError
        assert await everything(pool) == before
    # The second one ran in a savepoint at once, or failed before it had changed anything.
    assert pool.writer.stats.repeated_batches <= 1
    assert written.batches == []
    await assert_at_rest(pool)


@pytest.mark.parametrize("how", LATE)
async def test_a_unit_that_fails_late_takes_no_other_of_its_batch_along(
    pool: AsyncConnectionPool, written: Written, how: str
) -> None:
    step, error = LATE[how]
    failing = running(pool, step)
    results = await in_one_batch(
        pool,
        recording(pool, "before"),
        failing,
        recording(pool, "between"),
        failing,
        recording(pool, "after"),
    )
    assert [isinstance(result, error) for result in results] == [
        *(False, False, True),
        *(False, True, False),
    ]
    assert await names(pool) == ["after", "before", "between", "first"]
    assert written.batches == [["before", "between", "after"]]
    assert await stored(pool) == ["before", "between", "after"]
    stats = pool.writer.stats
    assert stats.repeated_batches == 1
    assert (stats.units - len(SCHEMA), stats.failed_units) == (4, 2)
    assert stats.commits - len(SCHEMA) == 1
    # Later units of the kind have a savepoint.
    await pool.execute("DELETE FROM items")
    await in_one_batch(pool, recording(pool, "before"), failing, recording(pool, "after"))
    assert stats.repeated_batches == 1
    assert await names(pool) == ["after", "before", "first"]
    await assert_at_rest(pool)


EARLY: dict[str, tuple[Step, type[BaseException]]] = {
    "an error of its own": (then_raise(), KeyError),
    "after it has read": (then_raise("SELECT count(*) FROM items"), KeyError),
    "a constraint": (only("INSERT INTO numbered (name) VALUES ('taken')"), UniqueViolation),
    "a check": (only("INSERT INTO items (name, amount) VALUES ('a', -1)"), CheckViolation),
    "the second row": (
        only("INSERT INTO items (name, amount) VALUES ('a', 1), ('b', -1)"),
        CheckViolation,
    ),
    "few rows": (many(16, last="row 3"), UniqueViolation),
    "a missing parent": (only("INSERT INTO children VALUES (9, 9)"), ForeignKeyViolation),
    "nothing to update": (then_raise("UPDATE items SET amount = 1 WHERE id = 99"), KeyError),
    "nothing to delete": (then_raise("DELETE FROM items WHERE id = 99"), KeyError),
}


@pytest.mark.parametrize("how", EARLY)
async def test_a_unit_that_fails_before_it_has_changed_anything_repeats_no_batch(
    pool: AsyncConnectionPool, written: Written, how: str
) -> None:
    step, error = EARLY[how]
    before = await everything(pool)
    with pytest.raises(error):
        await pool.run_unit(running(pool, step))
    assert await everything(pool) == before
    results = await in_one_batch(
        pool, recording(pool, "before"), running(pool, step), recording(pool, "after")
    )
    assert isinstance(results[2], error)
    assert written.batches == [["before", "after"]]
    assert await names(pool) == ["after", "before", "first"]
    assert pool.writer.stats.repeated_batches == 0
    await assert_at_rest(pool)


async def test_a_statement_of_its_own_that_fails_late_is_undone(pool: AsyncConnectionPool) -> None:
    before = await everything(pool)
    rows = [*((f"row {row}",) for row in range(20)), ("row 3",)]
    for _ in range(2):
        with pytest.raises(UniqueViolation):
            await pool.execute_many(ADD, rows)
        with pytest.raises(UniqueViolation):
            await pool.execute("INSERT OR FAIL INTO items (name) VALUES ('lost'), ('lost')")
        with pytest.raises(UniqueViolation):
            await pool.insert("INSERT OR FAIL INTO items (name) VALUES (?), (?)", ("a", "a"), 2)
        with pytest.raises(UniqueViolation):
            await pool.execute_returning(KEPT_IN_PART)
        with pytest.raises(StatementError):
            await pool.execute("INSERT INTO nothing VALUES (1)")
    assert await everything(pool) == before
    # Each of the four methods has failed late once without a savepoint.
    assert pool.writer.stats.repeated_batches == 4
    assert pool.writer.stats.failed_units == 10
    await assert_at_rest(pool)
