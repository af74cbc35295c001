"""The event loop pauses for the writer's statements, and for nothing else."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from database.sqlite.write_lock import WriteLock
from tests.database.engine import LONG, Gate, adding, adding_at, open_pool, stored_names


async def test_nothing_else_runs_while_a_unit_does(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", pause_seconds=LONG) as pool:
        order: list[str] = []

        async def work() -> int:
            async with pool.transaction() as tx:
                for number in range(100):
                    await tx.execute("INSERT INTO items (name) VALUES (?)", (str(number),))
            order.append("unit")
            return 0

        unit = asyncio.create_task(pool.run_unit(work))
        # Now the unit's hop is next on the event loop.
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(order.append, "loop")
        await unit
        assert order == ["unit", "loop"]


async def test_a_slow_unit_does_not_block_the_event_loop(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", pause_seconds=0.001) as pool:
        gate = Gate()
        unit = asyncio.create_task(pool.run_unit(adding_at(pool, gate, "slow")))
        # If the event loop waited for the unit, this would never return.
        await gate.reached()
        gate.open()
        assert await unit == 1


class _SlowToCommit(sqlite3.Connection):
    """Stops its thread at the gate before it commits."""

    gate: Gate

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.gate.hold()
        return super().execute(sql, parameters)


async def test_a_commit_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_pool(path, pause_seconds=LONG) as pool:
        slow = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=_SlowToCommit
        )
        slow.row_factory = sqlite3.Row
        slow.gate = gate = Gate()
        ordinary, pool.writer._connection._connection = pool.writer._connection._connection, slow
        unit = asyncio.create_task(pool.run_unit(adding(pool, "durable")))
        await gate.reached()
        # The event loop continues although the commit has not begun.
        assert stored_names(path) == []
        gate.open()
        assert await unit == 1
        slow.close()
        pool.writer._connection._connection = ordinary


async def test_a_turn_at_writing_is_not_waited_for(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", pause_seconds=LONG) as pool:
        lock: WriteLock = pool._write_lock
        assert lock.acquire(0)
        unit = asyncio.create_task(pool.run_unit(adding(pool, "patient")))
        while not lock._turns:
            await asyncio.sleep(0)
        assert not unit.done()
        lock.release()
        assert await unit == 1


async def test_a_failing_unit_gives_the_interpreter_back(tmp_path: Path) -> None:
    async with open_pool(tmp_path / "engine.db", pause_seconds=LONG) as pool:

        async def work() -> int:
            raise ValueError("not today")

        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ValueError, match="not today"):
            await pool.run_unit(work)
        assert loop.time() - began < LONG
        assert await pool.run_unit(adding(pool, "next")) == 1
