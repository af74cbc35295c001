"""Commits that fail because a test has asked for it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from database.engine import CommitFaults
from database.sqlite.jobs import Job, JobQueue
from database.sqlite.statements import roll_back
from database.sqlite.table_versions import ObservedConnection
from database.sqlite.write_lock import WriteLock


class FaultyWriteLock(WriteLock):
    """A write lock that asks `faults` about each COMMIT."""

    def __init__(self, faults: CommitFaults) -> None:
        super().__init__()
        self._faults = faults
        self._seen: tuple[sqlite3.Connection | None, int] = None, 0
        """The connection of the last COMMIT, and its `total_changes` then."""

    @contextmanager
    def committing(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Wrap each COMMIT. Raises the error of one that fails, which is rolled back then."""
        before, self._seen = self._seen, (connection, connection.total_changes)
        error = self._faults.of_commit(has_changes=before != self._seen)
        if error is not None:
            roll_back(connection)
            if isinstance(connection, ObservedConnection):
                connection.take_changes()
            raise error
        with super().committing(connection):
            yield


class ObservedQueue(JobQueue):
    """The writer's queue, which tells `faults` of what is in the next commit."""

    def __init__(self, faults: CommitFaults, *, limit: int, timeout: float) -> None:
        super().__init__(limit=limit, timeout=timeout)
        self._faults = faults

    def take(self) -> Job[Any] | None:
        """Remove and return the next job; `None` if no job waits."""
        job = super().take()
        if job is not None:
            self._faults.note_job(job.call.context)
        return job
