"""Logs of an earlier version, and processes that are killed while they index them again."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from backend.services.operations.log_indexing import LogIndexing
from database.migrator import load_migrations, migrate
from tests.retention.killed import opened
from tests.support.clocks import SetClock
from tests.support.earlier import INDEX_WORDS, forget_words

STEP = 3
"""The most logs of a step."""


def make_earlier_logs(path: Path) -> None:
    """Index all logs of the database as the version before did, and migrate it again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        forget_words(connection)
        assert migrate(connection) == [m.name for m in load_migrations()[INDEX_WORDS - 1 :]]


async def move_all(indexing: LogIndexing, limit: int = STEP) -> list[int]:
    """Move all logs. Returns the number of each step."""
    moved = []
    while count := await indexing.move(limit):
        moved.append(count)
    return moved


async def move_until(path: Path, statement: int) -> None:
    """Move all logs of the database at `path`. The process is killed before its `statement`-th
    statement on the connection that writes, counted from 1."""
    async with opened(path, SetClock()) as service:
        left = iter(range(statement - 1, -1, -1))

        def count(_sql: str) -> None:
            if next(left, None) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        pool = service.db_manager.async_pool
        await pool.run_alone(lambda raw: raw.set_trace_callback(count))
        await move_all(service.log_indexing)
        await pool.run_alone(lambda raw: raw.set_trace_callback(None))


def killed_at_every(arguments: Sequence[str]) -> int:
    """For each statement of a move, a copy of the database in which it was killed there. Stops
    after the first one that was not killed."""
    database, directory = Path(arguments[0]), Path(arguments[1])
    statement = 0
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        statement += 1
        path = Path(shutil.copy(database, directory / f"{statement}.db"))
        child = os.fork()
        if child == 0:
            asyncio.run(move_until(path, statement))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status
