"""Random units with random failures do exactly what a model does that runs them one by one."""

import asyncio
import random
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from database.engine import Transaction
from database.errors import CheckViolation, UniqueViolation
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.savepoints import REMEMBERED_SECONDS, Savepoints
from tests.database.engine import Clock, Written, assert_at_rest, open_pool

FAILURES = (KeyError, UniqueViolation, CheckViolation)
ADD = "INSERT INTO items (name, amount) VALUES (?, ?)"
NAMES = 12
"""Few, so that units meet."""
KINDS = 6

Seen = list[int | None]
"""What a unit read, which is its answer."""


class Model:
    """What the units leave: the amounts of items by name, and the entries."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}
        self.entries: list[str] = []

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
        items, entries = dict(model.items), len(model.entries)
        try:
            for step in self.steps:
                step.run_in(model, seen)
        except FAILURES:
            model.items = items
            del model.entries[entries:]
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


def random_block(chance: random.Random, depth: int = 0) -> Block:
    steps = (random_step(chance, depth) for _ in range(chance.randint(0 if depth else 1, 4)))
    return Block(tuple(steps), chance.random() < 0.6)


def random_step(chance: random.Random, depth: int) -> Step:
    if depth < 3 and chance.random() < 0.15:
        return random_block(chance, depth + 1)
    name = f"n{chance.randrange(NAMES)}"
    amount = chance.choice([0, 1, 2, 3, 3, -2])
    steps: tuple[Step, ...] = (
        *(Add(name, amount), AddMany(name, amount), Put(name, amount), Change(name, amount)),
        *(Remove(name), Read(name), Fail(name), Append(f"{name} {chance.random()}")),
    )
    return chance.choices(steps, (8, 2, 3, 5, 3, 3, 2, 6))[0]


async def outcome(pool: AsyncConnectionPool, unit: Block, kind: int) -> Seen | type[Exception]:
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
    chance = random.Random(units + batch_units)  # noqa: S311 - for repetition, not for secrets
    model, clock, written = Model(), Clock(), Written()
    async with open_pool(
        tmp_path / "engine.db", readers=1, batch_units=batch_units, batch_seconds=60
    ) as pool:
        pool.journal.write_entries = written
        pool.writer._batches.savepoints = Savepoints(clock)
        for _ in range(0, units, 100):
            # After some rounds, the kinds that had failed late are forgotten.
            clock.now += REMEMBERED_SECONDS / 3
            waiting = [random_block(chance) for _ in range(100)]
            expected = [model.run(unit) for unit in waiting]
            found = await asyncio.gather(
                *(outcome(pool, unit, chance.randrange(KINDS)) for unit in waiting)
            )
            assert found == expected
            rows = await pool.fetch_all("SELECT name, amount FROM items")
            assert {row["name"]: row["amount"] for row in rows} == model.items
        assert [entry for batch in written.batches for entry in batch] == model.entries
        stats = pool.writer.stats
        assert stats.units + stats.failed_units == units
        # Failures are neither rare nor the rule, and units ran in both ways.
        assert units / 10 < stats.failed_units < units * 9 / 10
        assert 0 < stats.repeated_batches < stats.commits
        assert stats.failed_commits == 0
        await assert_at_rest(pool)
