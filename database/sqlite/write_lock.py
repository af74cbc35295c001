"""Turns at writing, for everything in this process that writes the database."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from database.sqlite.table_versions import TableVersions


class WriteLock:
    """A lock that is handed over in the order in which it was asked for.

    With an ordinary lock a thread that writes in a loop would take it again before anyone who
    waits has woken up. It may be released by another thread than the one that took it.
    """

    def __init__(self) -> None:
        self.table_versions = TableVersions()
        """The versions of the tables that those transactions change."""
        self._guard = threading.Lock()
        self._held = False
        self._turns: deque[threading.Lock] = deque()

    @contextmanager
    def committing(self, connection: sqlite3.Connection) -> Iterator[None]:
        """For the holder, around each COMMIT: what it changes is told."""
        with self.table_versions.committing(connection):
            yield

    def acquire(self, timeout: float) -> bool:
        """Wait for the lock, at most `timeout` seconds; whether the caller has it now."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._turns.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._guard:
            # It may have been handed over since.
            if turn.acquire(blocking=False):
                return True
            self._turns.remove(turn)
            return False

    def release(self) -> None:
        """Hand the lock to whoever has waited longest."""
        with self._guard:
            if self._turns:
                self._turns.popleft().release()
            else:
                self._held = False
