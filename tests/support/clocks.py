"""Clocks that a test sets and advances."""

import threading
from datetime import UTC, datetime, timedelta

from database.base import time_text


class SetClock:
    """Returns the time that it was set to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float = 1) -> str:
        """Let time pass. Returns the new time as it is stored."""
        self.now += timedelta(seconds=seconds)
        return self.text()

    def text(self, seconds: float = 0) -> str:
        """The time in this many seconds, as it is stored and as answers contain it."""
        return time_text(self.now + timedelta(seconds=seconds))


class TickingClock:
    """A clock in seconds that a test advances, for a server that reads it repeatedly."""

    def __init__(self) -> None:
        self._now = 0.0
        self._asked = 0
        self._condition = threading.Condition()

    def __call__(self) -> float:
        """The present time."""
        with self._condition:
            self._asked += 1
            self._condition.notify_all()
            return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass, and wait until the server has reacted to it."""
        with self._condition:
            self._now += seconds
            # At the second reading after this, the server has done everything that the first one
            # caused.
            enough = self._asked + 2
            assert self._condition.wait_for(lambda: self._asked >= enough, timeout=30)
