"""Runs `strongroom` with one promise broken on purpose, to show which faults notice it.

    python -P mutated.py NAME STRONGROOM ARGUMENT…

A fault that can't fail shows nothing. `make faults ARGS=--mutations` tries the pairs in `NOTICED`
of `program.py`, and fails when a fault does not notice its mutation.
"""

import contextlib
import itertools
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import database.sqlite.batches
import database.sqlite.connection
from backend.repositories import Repositories
from backend.repositories.audit_repository import UnnumberedRow
from backend.services.recording import AuditEvent, Recorder
from database.engine import Executor
from database.errors import DatabaseError
from database.sqlite.batches import BatchRunner
from database.sqlite.jobs import Job
from tests.support.forked import run_strongroom

EVERY = 7
"""One in this many calls behaves wrongly."""


def answers_early() -> None:
    """Clients are answered before the COMMIT."""
    run = BatchRunner._run

    class Early:
        def __init__(self, pause: Any, answer: Callable[[], None]) -> None:
            self._pause, self._answer = pause, answer

        def end(self) -> None:
            self._answer()
            self._pause.end()

    def mutated(self: Any, raw: Any, batch: Any, queue: Any, pause: Any) -> None:
        run(self, raw, batch, queue, Early(pause, lambda: self._answer(batch)))  # type: ignore[arg-type]

    BatchRunner._run = mutated  # type: ignore[method-assign]


def never_syncs() -> None:
    """The COMMIT does not wait for the disk."""
    pragmas = database.sqlite.connection._pragmas

    def mutated(*arguments: Any, **options: Any) -> Any:
        off = ("synchronous", "OFF", 0)
        return [off if p[0] == off[0] else p for p in pragmas(*arguments, **options)]

    database.sqlite.connection._pragmas = mutated


def loses_units() -> None:
    """Some units of a batch are answered with success and rolled back."""
    run, count = Job.run, itertools.count(1)

    def mutated(self: Any, connection: sqlite3.Connection) -> None:
        if not connection.in_transaction or next(count) % EVERY:
            run(self, connection)
            return
        connection.execute("SAVEPOINT mutated")
        run(self, connection)
        connection.execute("ROLLBACK TO mutated")
        connection.execute("RELEASE mutated")

    Job.run = mutated  # type: ignore[method-assign]


def splits_units() -> None:
    """A unit's changes are committed some time before their audit entry."""
    write = Recorder.write

    async def mutated(self: Recorder, executor: Executor, rows: Sequence[UnnumberedRow]) -> None:
        # The changes during a start belong to no request.
        if any(row.request_id is not None for row in rows):
            transaction: Any = executor
            transaction._connection.execute("COMMIT")
            time.sleep(0.005)  # noqa: ASYNC251 - the writer's thread has no loop
            transaction._connection.execute("BEGIN IMMEDIATE")
        await write(self, executor, rows)

    Recorder.write = mutated  # type: ignore[method-assign]


def ignores_commits_that_fail() -> None:
    """A COMMIT that fails is taken for a successful one."""
    batches: Any = database.sqlite.batches
    commit = batches.commit

    def mutated(connection: sqlite3.Connection) -> None:
        with contextlib.suppress(DatabaseError):
            commit(connection)

    batches.commit = mutated


def forgets_the_audit() -> None:
    """Some changes have no audit entry."""
    record, count = Recorder.record_all, itertools.count(1)

    async def mutated(
        self: Recorder, repositories: Repositories, events: Sequence[AuditEvent]
    ) -> None:
        if next(count) % EVERY:
            await record(self, repositories, events)

    Recorder.record_all = mutated  # type: ignore[method-assign]


MUTATIONS: dict[str, Callable[[], None]] = {
    "answers-early": answers_early,
    "never-syncs": never_syncs,
    "loses-units": loses_units,
    "splits-units": splits_units,
    "ignores-failed-commits": ignores_commits_that_fail,
    "forgets-the-audit": forgets_the_audit,
}


def run(mutation: str, arguments: Sequence[str]) -> int:
    """Run the command with this promise broken. Returns the exit status."""
    MUTATIONS[mutation]()
    return run_strongroom(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[3:]))
