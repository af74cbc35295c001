"""How the database finds the rows of a statement."""

from collections.abc import Callable, Sequence
from typing import Any

from database.engine import Executor, Params, Row, WriteEntries


class Explaining:
    """An executor that keeps the query plan of each statement that it runs."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.plans: list[tuple[str, list[str]]] = []
        self.dialect = executor.dialect

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        await self._explain(sql, params)
        return await self._executor.fetch_all(sql, params)

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        await self._explain(sql, params)
        return await self._executor.fetch_one(sql, params)

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        await self._explain(sql, params)
        return await self._executor.fetch_within(sql, params, most_bytes)

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        await self._explain(sql, params)
        await self._executor.fetch_while(sql, params, takes)

    async def execute(self, sql: str, params: Params = ()) -> int:
        await self._explain(sql, params)
        return await self._executor.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int:
        await self._explain(sql, rows[0])
        return await self._executor.execute_many(sql, rows)

    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]:
        await self._explain(sql, params)
        return await self._executor.insert(sql, params, rows)

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        await self._explain(sql, params)
        return await self._executor.execute_returning(sql, params)

    async def gather(self, write: WriteEntries, rows: Sequence[Any]) -> None:
        await write(self, rows)

    async def append(self, entries: Sequence[Any]) -> None:
        await self._executor.append(entries)

    def time(self, read: Callable[[], str]) -> str:
        return self._executor.time(read)

    def waiting_entries(self) -> Sequence[Any]:
        return self._executor.waiting_entries()

    async def _explain(self, sql: str, params: Params) -> None:
        rows = await self._executor.fetch_all(f"EXPLAIN QUERY PLAN {sql}", params)
        self.plans.append((sql, [row["detail"] for row in rows]))

    def steps(self) -> list[str]:
        """All steps of the plans since the last call."""
        steps = [step for _, plan in self.plans for step in plan]
        self.plans.clear()
        return steps


def is_careless(step: str) -> bool:
    """Whether a step reads unnecessary rows, or sorts."""
    # The rows of a subquery were found by other steps, or are parameters.
    given = ("SCAN (subquery", "SCAN page", "SCAN new", "SCAN CONSTANT")
    scans = step.startswith("SCAN") and not step.startswith(given)
    return scans or "TEMP B-TREE" in step
