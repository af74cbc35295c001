"""Steps of units of work, each on the engine and in a model of what it must do."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from database.engine import Executor, Transaction
from database.errors import CheckViolation, UniqueViolation
from database.sqlite.async_pool import AsyncConnectionPool

FAILURES = (KeyError, UniqueViolation, CheckViolation)
ADD = "INSERT INTO items (name, amount) VALUES (?, ?)"
GATHERED = """CREATE TABLE gathered (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0)
) STRICT"""

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
