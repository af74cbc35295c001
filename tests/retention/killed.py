"""Processes that remove old entries of the audit and are killed at some statement."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from backend.crypto.keyring import Keyring, MasterKey
from backend.crypto.vault import Vault
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from database.connection_manager import ConnectionConfig, DatabaseManager
from tests.retention.data import limits
from tests.support.api import KEYS
from tests.support.clocks import SetClock

STEP = 4
"""The most entries of a step."""
OLD = limits(audit=(30, None))


@asynccontextmanager
async def opened(path: Path, clock: SetClock) -> AsyncIterator[DatabaseService]:
    """The service over the database at `path`, without the application."""
    async with DatabaseManager(ConnectionConfig(path, readers=1)) as manager:
        vault = Vault(Keyring([MasterKey("k1", bytes(range(32)))]), "an-installation")
        yield DatabaseService(Kit(manager, vault, KEYS, clock=clock))


async def remove_old(path: Path, clock: SetClock, statement: int = 0) -> None:
    """Remove old entries in small steps. The process is killed before its `statement`-th statement
    on the connection that writes, counted from 1."""
    async with opened(path, clock) as service:
        left = iter(range(statement - 1, -1, -1))

        def count(_sql: str) -> None:
            if next(left, None) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        pool = service.db_manager.async_pool
        phases = await service.retention.removal(OLD)
        await pool.run_alone(lambda raw: raw.set_trace_callback(count))
        for phase in phases:
            while await phase.remove(STEP) != 0:
                pass
        await pool.run_alone(lambda raw: raw.set_trace_callback(None))


def killed_at_every(arguments: Sequence[str]) -> int:
    """For each statement of a removal, a copy of the database in which it was killed there. Stops
    after the first one that was not killed."""
    database, directory, days = Path(arguments[0]), Path(arguments[1]), float(arguments[2])
    statement = 0
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        statement += 1
        path = Path(shutil.copy(database, directory / f"{statement}.db"))
        child = os.fork()
        if child == 0:
            clock = SetClock()
            clock.advance(days)
            asyncio.run(remove_old(path, clock, statement))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status
