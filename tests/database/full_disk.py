"""What the engine does when the file system is full: a program that a test runs.

Its argument is an empty directory on a small separate file system. It prints its observations as
JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from database.errors import DatabaseError
from database.sqlite.async_pool import AsyncConnectionPool
from database.sqlite.connection import ConnectionConfig
from tests.database.engine import (
    Failing,
    adding,
    in_one_batch,
    make_database,
    names,
    outcomes,
)

INSERT = "INSERT INTO parts (body) VALUES (?)"


class Disk:
    """The file system, and a file that takes up its free space."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        """Take up all free space."""
        with self._ballast.open("wb", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Free the space again."""
        self._ballast.unlink()


def _kinds(results: list[Any]) -> list[str]:
    return sorted({type(result).__name__ for result in results})


async def main(directory: Path) -> dict[str, Any]:
    """Commit, checkpoint and commit again, with and without free space."""
    disk = Disk(directory)
    path = directory / "engine.db"
    make_database(path)
    seen: dict[str, Any] = {}
    pool = AsyncConnectionPool(ConnectionConfig(path, batch_seconds=60))

    async def storing() -> int:
        async with pool.transaction() as tx:
            return await tx.execute(INSERT, ("x" * 100_000,))

    await pool.open()
    await pool.run_unit(adding(pool, "before"))
    disk.fill()
    seen["full"] = _kinds(await outcomes(pool.execute(INSERT, ("x" * 100_000,)) for _ in range(20)))
    # The batch is run again, because its last unit fails late.
    seen["run again while full"] = _kinds(await in_one_batch(pool, storing, Failing(pool)))
    seen["said to be full"] = [pool.writer.is_full]
    seen["poisoned by a commit"] = pool.stats()["poisoned"]
    seen["read while full"] = await names(pool)
    disk.free()
    await pool.run_unit(adding(pool, "between"))
    # A write succeeded, and the file system has free space.
    seen["said to be full"] += [pool.writer.is_full]

    # The log starts again inside its file, which is large by now; the database file must grow.
    await pool.execute(INSERT, ("x" * 400_000,))
    assert await pool.run_alone(lambda raw: raw.execute("DELETE FROM parts").rowcount) == 1
    await pool.run_alone(lambda raw: raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
    await pool.run_alone(lambda raw: raw.execute("VACUUM").close())
    await pool.run_alone(lambda raw: raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
    disk.fill()
    # No write was refused since, so the writer asks the file system.
    seen["said to be full"] += [pool.writer.is_full]
    before = pool.stats()["writer"]["checkpoints"]
    seen["committed into the log"] = _kinds(
        await outcomes([pool.execute(INSERT, ("x" * 100_000,))])
    )
    seen["more than the log has room for"] = _kinds(
        await outcomes([pool.execute(INSERT, ("x" * 500_000,))])
    )
    await pool.run_alone(lambda raw: raw.total_changes)
    seen["checkpoints while full"] = pool.stats()["writer"]["checkpoints"] - before
    seen["poisoned by a checkpoint"] = pool.stats()["poisoned"]
    disk.free()
    seen["truncated when there was room"] = await pool.writer.checkpoint()
    row = await pool.fetch_one("SELECT count(*) FROM parts")
    seen["parts"] = row[0] if row is not None else None
    seen["names"] = await names(pool)
    await pool.close()
    return seen


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
    except DatabaseError as error:
        sys.exit(f"{type(error).__name__}: {error}")
