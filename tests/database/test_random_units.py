"""Random units with random failures do exactly what a model does that runs them one by one."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from database.engine import Executor, Transaction
from database.errors import CheckViolation, UniqueViolation
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.savepoints import REMEMBERED_SECONDS, Savepoints
from tests.database.engine import Clock, Written, assert_at_rest, open_pool

FAILURES = (KeyError, UniqueViolation, CheckViolation)
ADD = "INSERT INTO items (name, amount) VALUES (?, ?)"
GATHERED = """CREATE TABLE gathered (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0)
) STRICT"""
NAMES = 12
"""Few, so that units meet."""
KINDS = 6

Seen = list[int | None]
"""What a unit read, which is its answer."""


class Model:
    """What the units leave: the amounts of items by name, the entries, and gathered rows."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}
        self.entries: list[str] = []
        self.gathered: list[str] = []

    def add(self, rows: dict[str, int]) -> None:
        for name, amount in rows.items():
            self.put(name, amount, only_check=True)
            if name in self.items:
                raise UniqueViolation(name)
        self.items |= rows

    def put(self, name: str, amount: int, *, only_check: bool = False) -> None:
        if amount < 0:
            raise CheckViolation(name)
        if not only_check:
            self.items[name] = amount

    def run(self, unit: "Block") -> Seen | type[Exception]:
        """The answer of the unit or the kind of its failure, which leaves nothing."""
        seen: Seen = []
        try:
            unit.block_in(self, seen)
        except FAILURES as error:
            return type(error)
        return seen


class Step(Protocol):
    """What a unit does next: in the model, and on the engine."""

    def run_in(self, model: Model, seen: Seen) -> None: ...
    async def run(self, pool: AsyncConnectionPool, tx: Transaction, seen: Seen) -> None: ...


class Add(NamedTuple):
    name: str
    amount: int

    def run_in(self, model: Model, _: Seen) -> None:
        model.add({self.name: self.amount})

    async def run(self, _: AsyncConnectionPool, tx: Transaction, __: Seen) -> None:
        await tx.insert(ADD, self, 1)


class AddMany(NamedTuple):
    """More rows than one statement takes. The last one can be there already."""

    name: str
    amount: int

    @property
    def rows(self) -> dict[str, int]:
        return {f"{self.name} {row}": row for row in range(17)} | {self.name: abs(self.amount)}

    def run_in(self, model: Model, _: Seen) -> None:
        model.add(self.rows)

    async def run(self, _: AsyncConnectionPool, tx: Transaction, __: Seen) -> None:
        await tx.execute_many(ADD, list(self.rows.items()))


class Put(NamedTuple):
    name: str
    amount: int

    def run_in(self, model: Model, _: Seen) -> None:
        model.put(self.name, self.amount)

    async def run(self, _: AsyncConnectionPool, tx: Transaction, __: Seen) -> None:
        await tx.execute(f"{ADD} ON CONFLICT (name) DO UPDATE SET amount = excluded.amount", self)


class Change(NamedTuple):
    name: str
    amount: int

    def run_in(self, model: Model, _: Seen) -> None:
        model.put(self.name, model.items[self.name] + self.amount)

    async def run(self, _: AsyncConnectionPool, tx: Transaction, __: Seen) -> None:
        sql = "UPDATE items SET amount = amount + ? WHERE name = ?"
        if not await tx.execute(sql, (self.amount, self.name)):
            raise KeyError(self.name)


class Remove(NamedTuple):
    name: str

    def run_in(self, model: Model, seen: Seen) -> None:
        seen.append(model.items.pop(self.name, None))

    async def run(self, _: AsyncConnectionPool, tx: Transaction, seen: Seen) -> None:
        sql = "DELETE FROM items WHERE name = ? RETURNING amount"
        rows = await tx.execute_returning(sql, self)
        seen.append(rows[0][0] if rows else None)


class Read(NamedTuple):
    name: str

    def run_in(self, model: Model, seen: Seen) -> None:
        seen.append(model.items.get(self.name))

    async def run(self, _: AsyncConnectionPool, tx: Transaction, seen: Seen) -> None:
        row = await tx.fetch_one("SELECT amount FROM items WHERE name = ?", self)
        seen.append(row[0] if row is not None else None)


class Append(NamedTuple):
    entry: str

    def run_in(self, model: Model, _: Seen) -> None:
        model.entries.append(self.entry)

    async def run(self, _: AsyncConnectionPool, tx: Transaction, __: Seen) -> None:
        await tx.append([self.entry])


class Rows:
    """Writes gathered rows, and notes how many names came together: each step has its own."""

    most_together = 0

    async def __call__(self, executor: Executor, rows: Sequence[tuple[str, int]]) -> None:
        self.most_together = max(self.most_together, len({name for name, _ in rows}))
        await executor.execute_many("INSERT INTO gathered (name, amount) VALUES (?, ?)", rows)


class Gather(NamedTuple):
    """Rows to be stored together with those of other units. If they are refused, something must
    follow that notices: a read or the end of the unit."""

    write: Rows
    name: str
    amount: int
    times: int
    reads: bool

    def run_in(self, model: Model, seen: Seen) -> None:
        model.put(self.name, self.amount, only_check=True)
        model.gathered += [self.name] * self.times
        if self.reads:
            seen.append(len(model.gathered))

    async def run(self, pool: AsyncConnectionPool, tx: Transaction, seen: Seen) -> None:
        await tx.gather(self.write, [(self.name, self.amount)] * self.times)
        if self.reads:
            await Count("none").run(pool, tx, seen)


class Count(NamedTuple):
    """Reads what other kinds of units have gathered: names that do not begin with `own`."""

    own: str

    def run_in(self, model: Model, seen: Seen) -> None:
        seen.append(sum(not name.startswith(self.own) for name in model.gathered))

    async def run(self, _: AsyncConnectionPool, tx: Transaction, seen: Seen) -> None:
        sql = "SELECT count(*) FROM gathered WHERE name NOT LIKE ? || '%'"
        row = await tx.fetch_one(sql, self)
        seen.append(row[0] if row is not None else None)


class Fail(NamedTuple):
    name: str

    def run_in(self, _: Model, __: Seen) -> None:
        raise KeyError(self.name)

    async def run(self, _: AsyncConnectionPool, __: Transaction, ___: Seen) -> None:
        raise KeyError(self.name)


class Block(NamedTuple):
    """Steps that are undone together. The unit may catch their failure and go on."""

    steps: tuple[Step, ...]
    is_caught: bool

    def block_in(self, model: Model, seen: Seen) -> None:
        items, entries, gathered = dict(model.items), len(model.entries), len(model.gathered)
        try:
            for step in self.steps:
                step.run_in(model, seen)
        except FAILURES:
            model.items = items
            del model.entries[entries:]
            del model.gathered[gathered:]
            raise

    async def block(self, pool: AsyncConnectionPool, seen: Seen) -> None:
        async with pool.transaction() as tx:
            for step in self.steps:
                await step.run(pool, tx, seen)

    def run_in(self, model: Model, seen: Seen) -> None:
        try:
            self.block_in(model, seen)
        except FAILURES:
            if not self.is_caught:
                raise
            seen.append(-1)

    async def run(self, pool: AsyncConnectionPool, _: Transaction, seen: Seen) -> None:
        try:
            await self.block(pool, seen)
        except FAILURES:
            if not self.is_caught:
                raise
            seen.append(-1)


# Of adding, adding many, putting, changing, removing, reading, failing and appending.
STORMY = (8, 2, 3, 5, 3, 3, 2, 6)
SUCCEEDS = (0, 0, 3, 0, 3, 3, 0, 6)
FAILS_EARLY = (0, 0, 0, 0, 0, 3, 2, 6)


class Chance(random.Random):
    """Random units, some of which gather rows: those have kinds of their own, because a unit need
    not see what earlier ones of its kind have gathered until it has gathered itself."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.writes = (Rows(), Rows())
        self.gathers = False
        self.kind = 0
        self.is_calm = False
        """Whether few units fail late, so that batches keep what they have gathered."""
        self.weights = STORMY

    def units(self, count: int) -> list[tuple[Block, object]]:
        """Units and their kinds, among which late failures are rare or not."""
        self.is_calm = self.random() < 0.7
        return [self.unit() for _ in range(count)]

    def unit(self) -> tuple[Block, object]:
        """A unit and its kind."""
        if self.random() < 0.3:
            # Otherwise units of one kind come one after the other.
            self.gathers = self.random() < 0.6
            self.kind = self.randrange(KINDS)
        is_calm = self.is_calm and self.random() < 0.98
        self.weights = STORMY if not is_calm else FAILS_EARLY if self.gathers else SUCCEEDS
        unit = self.block()
        if self.gathers and self.random() < 0.3:
            unit = unit._replace(steps=(*unit.steps, self.gather(is_last=True)))
        return unit, (self.gathers, self.kind)

    def block(self, depth: int = 0) -> Block:
        steps = (self.step(depth) for _ in range(self.randint(0 if depth else 1, 4)))
        return Block(tuple(steps), self.random() < 0.6)

    def step(self, depth: int) -> Step:
        if depth < 3 and self.random() < 0.15:
            return self.block(depth + 1)
        if self.random() < (0.6 if self.gathers else 0.1):
            if self.gathers and self.random() < 0.9:
                return self.gather()
            return Count(f"g{self.kind} " if self.gathers else "none")
        name = f"n{self.randrange(NAMES)}"
        amount = self.choice([0, 1, 2, 3, 3, 0 if self.weights is SUCCEEDS else -2])
        steps: tuple[Step, ...] = (
            *(Add(name, amount), AddMany(name, amount), Put(name, amount), Change(name, amount)),
            *(Remove(name), Read(name), Fail(name), Append(f"{name} {self.random()}")),
        )
        return self.choices(steps, self.weights)[0]

    def gather(self, *, is_last: bool = False) -> Gather:
        amount = -1 if self.random() < (0.04 if is_last else 0.004) else 1
        reads = self.random() < 0.2 or (amount < 0 and not is_last)
        times = self.choice([0, 1, 1, 2, 5]) if self.random() < 0.98 else 200
        if amount < 0:
            times = max(times, 1)
        write = self.writes[self.random() < 0.1]
        return Gather(write, f"g{self.kind} {self.random()}", amount, times, reads)


async def outcome(pool: AsyncConnectionPool, unit: Block, kind: object) -> Seen | type[Exception]:
    async def work() -> Seen:
        seen: Seen = []
        await unit.block(pool, seen)
        return seen

    try:
        return await pool.run_unit(work, kind=kind)
    except FAILURES as error:
        return type(error)


@pytest.mark.parametrize("units", [1_000, pytest.param(10_000, marks=pytest.mark.long_form)])
@pytest.mark.parametrize("batch_units", [1, 5, 64])
async def test_random_units_equal_those_of_a_model(
    tmp_path: Path, batch_units: int, units: int
) -> None:
    chance = Chance(units + batch_units)
    model, clock, written = Model(), Clock(), Written()
    async with open_pool(
        tmp_path / "engine.db", readers=1, batch_units=batch_units, batch_seconds=60
    ) as pool:
        await pool.execute(GATHERED)
        pool.journal.write_entries = written
        pool.writer._batches.savepoints = Savepoints(clock)
        for _ in range(0, units, 100):
            # After some rounds, the kinds that had failed late are forgotten.
            clock.now += REMEMBERED_SECONDS * chance.choice([0.3, 1])
            waiting = chance.units(100)
            expected = [model.run(unit) for unit, _ in waiting]
            found = await asyncio.gather(*(outcome(pool, unit, kind) for unit, kind in waiting))
            assert found == expected
            rows = await pool.fetch_all("SELECT name, amount FROM items")
            assert {row["name"]: row["amount"] for row in rows} == model.items
            rows = await pool.fetch_all("SELECT name FROM gathered ORDER BY id")
            assert [row["name"] for row in rows] == model.gathered
            await pool.execute("DELETE FROM gathered")
            model.gathered.clear()
        assert [entry for batch in written.batches for entry in batch] == model.entries
        stats = pool.writer.stats
        assert stats.units + stats.failed_units == units + 1 + units // 100
        # Failures are neither rare nor the rule, and units ran in both ways.
        assert units / 10 < stats.failed_units < units * 9 / 10
        assert 0 < stats.repeated_batches < stats.commits
        assert stats.failed_commits == 0
        # Rows of several units were stored together, where batches have several.
        assert batch_units == 1 or chance.writes[0].most_together > 4
        await assert_at_rest(pool)
