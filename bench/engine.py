"""The engine without HTTP and with 64 callers, compared with plain `sqlite3` in one thread.

A write is the four statements of creating a project. Plain `sqlite3` does the same work without a
thread, a queue or an event loop: once with a COMMIT for each write, and once with all writes in one
transaction, which is the upper limit for these statements.
"""

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvloop

from backend.repositories import initialize_database
from database.connection_manager import DatabaseManager
from database.sqlite.connection import ConnectionConfig, open_connection

WAITING = 64
SEEDED = 1_000

_AT = "2026-01-31T12:00:00.123456Z"
_PROJECT = (
    "INSERT INTO projects (name, github_owner, github_repo, name_key, owner_key, repo_key,"
    " search_text, status, webhook_url, auto_merge_enabled, auto_confirm_plans, created_at,"
    " updated_at) VALUES (?, 'bench', ?, ?, 'bench', ?, ?, 'active', NULL, 1, 0, ?, ?) RETURNING *"
)
_SETTINGS = (
    "INSERT INTO project_settings (project_id, planning_statement, created_at, updated_at)"
    " VALUES (?, 'Plan before coding, and keep every change small.', ?, ?) RETURNING *"
)
_HEAD = "SELECT id, mac FROM audit_entries ORDER BY id DESC LIMIT 1"
_AUDIT = (
    "INSERT INTO audit_entries (id, at, actor, action, target, project_id, fields, mac)"
    " VALUES (?, ?, 'admin', 'project.created', ?, ?, '[\"name\"]', ?)"
)
_READ = "SELECT * FROM projects WHERE id = ?"
_MAC = "0" * 64


def _project_values(name: str) -> tuple[str, ...]:
    return (name, name, name, name, f"{name}\nbench\n{name}", _AT, _AT)


class Plain:
    """Plain `sqlite3`, with the settings of the engine's own connections."""

    def __init__(self, path: Path) -> None:
        self._connection = open_connection(ConnectionConfig(path), read_only=False)
        # SQLite's default, because no other thread makes checkpoints here.
        self._connection.execute("PRAGMA wal_autocheckpoint = 1000").close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def begin(self) -> None:
        """Open a transaction."""
        self._connection.execute("BEGIN IMMEDIATE").close()

    def commit(self) -> None:
        """Make it durable."""
        self._connection.execute("COMMIT").close()

    def write(self, name: str) -> None:
        """Make one write in the open transaction."""
        run = self._connection.execute
        (row,) = run(_PROJECT, _project_values(name)).fetchall()
        run(_SETTINGS, (row["id"], _AT, _AT)).fetchall()
        head = run(_HEAD).fetchone()
        number = head["id"] + 1 if head is not None else 1
        run(_AUDIT, (number, _AT, f"projects/{row['id']}", row["id"], _MAC)).fetchall()

    def writes(self, names: Iterator[str], seconds: float, *, commit_each: bool) -> float:
        """Writes a second, measured over about this many seconds."""
        done = 0
        began = time.perf_counter()
        self.begin()
        while time.perf_counter() - began < seconds:
            self.write(next(names))
            done += 1
            if commit_each:
                self.commit()
                self.begin()
        self.commit()
        return done / (time.perf_counter() - began)

    def reads(self, seconds: float) -> float:
        """Reads of one row a second."""
        done = 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            self._connection.execute(_READ, (done % SEEDED + 1,)).fetchone()
            done += 1
        return done / (time.perf_counter() - began)


async def _all_waiting(work: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Calls of `work` a second with 64 concurrent callers."""
    done = 0
    began = time.perf_counter()

    async def one() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await work()
            done += 1

    await asyncio.gather(*(one() for _ in range(WAITING)))
    return done / (time.perf_counter() - began)


async def _engine(path: Path, names: Iterator[str], seconds: float) -> dict[str, float]:
    async with DatabaseManager(path) as manager:
        pool = manager.async_pool
        numbers = itertools.count()

        async def unit(name: str) -> None:
            async with pool.transaction() as tx:
                (row,) = await tx.execute_returning(_PROJECT, _project_values(name))
                await tx.execute_returning(_SETTINGS, (row["id"], _AT, _AT))
                head = await tx.fetch_one(_HEAD)
                number = head["id"] + 1 if head is not None else 1
                await tx.execute(_AUDIT, (number, _AT, f"projects/{row['id']}", row["id"], _MAC))

        def write() -> Awaitable[object]:
            name = next(names)
            return pool.run_unit(lambda: unit(name))

        def read() -> Awaitable[object]:
            return pool.fetch_one(_READ, (next(numbers) % SEEDED + 1,))

        return {
            "engine.write.engine": await _all_waiting(write, seconds),
            "engine.read.engine": await _all_waiting(read, seconds),
        }


def _new_database(path: Path, names: Iterator[str]) -> Path:
    """Create a database with the whole schema and some projects."""
    manager = DatabaseManager(path)
    try:
        initialize_database(manager)
    finally:
        asyncio.run(manager.close())
    plain = Plain(path)
    try:
        plain.begin()
        for _ in range(SEEDED):
            plain.write(next(names))
        plain.commit()
    finally:
        plain.close()
    return path


def measure(work: Path, seconds: float) -> dict[str, float]:
    """Writes and reads a second: by the engine, by plain `sqlite3` with a COMMIT for each write,
    and in one transaction. Each has a new database."""
    names = (f"project-{number}" for number in itertools.count())
    found = {}
    for figure, commit_each in (("commit_each", True), ("one_transaction", False)):
        plain = Plain(_new_database(work / f"{figure}.db", names))
        try:
            found[f"engine.write.{figure}"] = plain.writes(names, seconds, commit_each=commit_each)
            if commit_each:
                found["engine.read.plain"] = plain.reads(seconds)
        finally:
            plain.close()
    found.update(uvloop.run(_engine(_new_database(work / "engine.db", names), names, seconds)))
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        print(json.dumps(measure(Path(folder), arguments.seconds)))


if __name__ == "__main__":
    main()
