"""The lock that all writers of the database in this process share."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from database.sqlite.table_versions import TableVersions


class WriteLock:
    """A fair lock: threads get it in the order in which they asked for it.

    With an ordinary lock, a thread that writes in a loop would take it again before a waiting
    thread wakes up. A thread may release the lock that another thread took.
    """

    def __init__(self) -> None:
        self.table_versions = TableVersions()
        """The versions of the tables that the writers change."""
        self._guard = threading.Lock()
        self._held = False
        self._turns: deque[threading.Lock] = deque()

    @contextmanager
    def committing(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Wrap each COMMIT of the holder, so that its changes are counted."""
        with self.table_versions.committing(connection):
            yield

    def acquire(self, timeout: float) -> bool:
        """Wait for the lock, at most `timeout` seconds. Returns whether the caller has it."""
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
            # The lock may have been handed over after the timeout.
            if turn.acquire(blocking=False):
                return True
            self._turns.remove(turn)
            return False

    def release(self) -> None:
        """Hand the lock to the thread that has waited longest."""
        with self._guard:
            if self._turns:
                self._turns.popleft().release()
            else:
                self._held = False
