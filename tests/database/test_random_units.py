"""Random units with random failures do exactly what a model does that runs them one by one."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from database.engine import ALONE, Call, Outcome, Together
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.savepoints import REMEMBERED_SECONDS, Savepoints
from tests.database.engine import Clock, Written, assert_at_rest, open_pool
from tests.database.unit_model import (
    FAILURES,
    GATHERED,
    Add,
    AddMany,
    Append,
    Block,
    Change,
    Count,
    Fail,
    Gather,
    Model,
    Put,
    Read,
    Remove,
    Rows,
    Seen,
    Step,
)

NAMES = 12
"""Few, so that units meet."""
KINDS = 6

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

    def units(self, count: int) -> list[tuple[Block, tuple[bool, int]]]:
        """Units and their kinds, among which late failures are rare or not."""
        self.is_calm = self.random() < 0.7
        return [self.unit() for _ in range(count)]

    def unit(self) -> tuple[Block, tuple[bool, int]]:
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


class AsOne:
    """Runs units as one, of which it leaves some of the last ones, so that their order stays."""

    def __init__(self, pool: AsyncConnectionPool, chance: Chance) -> None:
        self.pool = pool
        self.chance = chance
        self.most = 0
        """The most units that ran as one, and succeeded."""

    async def __call__(self, calls: Sequence[Call]) -> Sequence[Seen | Outcome]:
        count = self.chance.choice([len(calls), len(calls), self.chance.randint(0, len(calls))])
        found: list[Seen] = []
        for call in calls[:count]:
            found.append([])
            await call.arguments[0].block(self.pool, found[-1])
        self.most = max(self.most, count)
        return [*found, *([ALONE] * (len(calls) - count))]


async def outcome(
    pool: AsyncConnectionPool, unit: Block, kind: object, together: Together | None
) -> Seen | type[Exception]:
    async def work() -> Seen:
        seen: Seen = []
        await unit.block(pool, seen)
        return seen

    try:
        return await pool.run_unit(work, kind=kind, together=together, arguments=(unit,))
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
        # Of units that are alike, those of one kind in three always run on their own.
        as_one = {
            (gathers, kind): AsOne(pool, chance)
            for gathers in (False, True)
            for kind in range(KINDS)
            if kind % 3
        }
        pool.writer._batches.savepoints = Savepoints(clock)
        for _ in range(0, units, 100):
            # After some rounds, the kinds that had failed late are forgotten.
            clock.now += REMEMBERED_SECONDS * chance.choice([0.3, 1])
            waiting = chance.units(100)
            expected = [model.run(unit) for unit, _ in waiting]
            found = await asyncio.gather(
                *(outcome(pool, unit, kind, as_one.get(kind)) for unit, kind in waiting)
            )
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
        assert batch_units == 1 or max(one.most for one in as_one.values()) > 2
        await assert_at_rest(pool)
