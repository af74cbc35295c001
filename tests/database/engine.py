"""A small database, pools over it, and units of work that a test can stop in the middle."""

import asyncio
import contextlib
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from database.engine import Executor
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig, open_connection
from database.sqlite.transaction import Work

T = TypeVar("T")

TABLES = (
    """CREATE TABLE items (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        amount INTEGER NOT NULL DEFAULT 0 CHECK (amount >= 0)
    ) STRICT""",
    """CREATE TABLE parts (
        id INTEGER PRIMARY KEY,
        body TEXT,
        item_id INTEGER REFERENCES items (id) DEFERRABLE INITIALLY DEFERRED
    ) STRICT""",
    """CREATE TABLE bound_parts (
        id INTEGER PRIMARY KEY,
        item_id INTEGER NOT NULL REFERENCES items (id)
    ) STRICT""",
)
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
"""A query that runs until it is interrupted."""
LONG = 10.0
"""Seconds after which a waiting test fails."""


def make_database(path: Path) -> ConnectionConfig:
    """The configuration for a database with `TABLES`, which is created if it does not exist."""
    config = ConnectionConfig(path)
    if not path.exists():
        with closing(open_connection(config)) as connection:
            for statement in TABLES:
                connection.execute(statement)
    return config


@contextlib.asynccontextmanager
async def open_pool(path: Path, **settings: Any) -> AsyncIterator[AsyncConnectionPool]:
    """A pool over the database at `path`, which is created if it does not exist. Closed
    afterwards."""
    make_database(path)
    pool = AsyncConnectionPool(ConnectionConfig(path, **settings))
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(grace=0)


def adding(pool: AsyncConnectionPool, name: str, amount: int = 0) -> Work[int]:
    """A unit of work that adds an item and returns its id."""

    async def work() -> int:
        async with pool.transaction() as tx:
            rows = await tx.execute_returning(
                "INSERT INTO items (name, amount) VALUES (?, ?) RETURNING id", (name, amount)
            )
            return int(rows[0]["id"])

    return work


class Failing:
    """A unit that adds an item and then fails, in its first run only or in each."""

    def __init__(
        self, pool: AsyncConnectionPool, *, runs: int = 1_000_000, name: str = "run"
    ) -> None:
        self.pool = pool
        self.failing_runs = runs
        self.name = name
        self.runs = 0

    async def __call__(self) -> int:
        self.runs += 1
        async with self.pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES (?)", (f"{self.name} {self.runs}",))
            if self.runs <= self.failing_runs:
                raise KeyError("late")
        return self.runs


class Changing:
    """A unit that adds another name in each of its runs."""

    def __init__(self, pool: AsyncConnectionPool, *names: str) -> None:
        self.pool = pool
        self.names = list(names)

    async def __call__(self) -> str:
        name = self.names.pop(0)
        async with self.pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES (?)", (name,))
        return name


class Clock:
    """A clock that the test moves; in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """Holds a database thread in the middle of its work until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def hold(self) -> None:
        """On the database thread: report that the gate was reached, and wait until it opens."""
        self._reached.set()
        if not self._opened.wait(LONG):
            raise TimeoutError("the test never opened the gate")

    async def reached(self) -> None:
        """Wait until a thread has reached the gate."""
        assert await asyncio.to_thread(self._reached.wait, LONG), "no thread reached the gate"

    def open(self) -> None:
        """Let the thread continue."""
        self._opened.set()


def adding_at(pool: AsyncConnectionPool, gate: Gate, name: str) -> Work[int]:
    """A unit of work that adds an item, and then stops the writer at the gate."""

    async def work() -> int:
        async with pool.transaction() as tx:
            rows = await tx.execute_returning(
                "INSERT INTO items (name) VALUES (?) RETURNING id", (name,)
            )
            gate.hold()
            return int(rows[0]["id"])

    return work


def holding(gate: Gate) -> Callable[[sqlite3.Connection], None]:
    """A function that stops the connection's thread at the gate."""
    return lambda _: gate.hold()


class Written:
    """Writes entries as rows of `parts`, and remembers which came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def __call__(self, executor: Executor, entries: Sequence[str]) -> None:
        self.batches.append(list(entries))
        await executor.execute_many(
            "INSERT INTO parts (body) VALUES (?)", [(entry,) for entry in entries]
        )


async def names(pool: AsyncConnectionPool) -> list[str]:
    """The names of all items, in order."""
    rows = await pool.fetch_all("SELECT name FROM items ORDER BY name")
    return [row["name"] for row in rows]


async def stored(pool: AsyncConnectionPool) -> list[str]:
    """The entries that `Written` wrote, in their order."""
    return [row["body"] for row in await pool.fetch_all("SELECT body FROM parts ORDER BY id")]


async def outcomes(awaitables: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    """The result or the error of each."""
    return await asyncio.gather(*awaitables, return_exceptions=True)


async def until_waiting(pool: AsyncConnectionPool, count: int) -> None:
    """Wait until so many jobs are in the writer's queue."""
    while len(pool.writer.queue) < count:
        await asyncio.sleep(0)


async def in_one_batch(
    pool: AsyncConnectionPool, *works: Work[Any]
) -> list[object | BaseException]:
    """The results of the units, run in one batch after a unit that adds `first`."""
    gate = Gate()
    first = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "first")))
    await gate.reached()
    others = [asyncio.create_task(pool.run_unit(work)) for work in works]
    await until_waiting(pool, len(others))
    gate.open()
    return await asyncio.wait_for(outcomes((first, *others)), LONG)


@contextlib.asynccontextmanager
async def no_room(pool: AsyncConnectionPool) -> AsyncIterator[None]:
    """The database file can grow by only a few pages."""
    row = await pool.fetch_one("PRAGMA page_count")
    assert row is not None
    await pool.run_alone(
        lambda raw: raw.execute(f"PRAGMA max_page_count = {row[0] + 3}").fetchone()
    )
    try:
        yield
    finally:
        await pool.run_alone(lambda raw: raw.execute("PRAGMA max_page_count = 1000000").fetchone())


async def assert_at_rest(pool: AsyncConnectionPool) -> None:
    """Nothing waits, nothing runs, and no connection has an open transaction."""
    assert not await pool.run_alone(lambda raw: raw.in_transaction)
    for reader in list(pool.readers._all):
        assert not await reader.run(lambda raw: raw.in_transaction)
    assert pool.writer.queue.unanswered == 0
    assert pool.readers.queue.unanswered == 0
    assert len(pool.writer.queue) == 0
    assert len(pool.readers.queue) == 0


def stored_names(path: Path) -> list[str]:
    """The names of all items, read through a separate connection."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM items ORDER BY name")]


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """A write beyond `size` bytes of a file is an I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
