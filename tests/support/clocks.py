"""Clocks that stand still until a test moves them."""

import threading
from datetime import UTC, datetime, timedelta


class SetClock:
    """Gives the time it was set to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 12, 0, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float = 1) -> str:
        """Go on by so many seconds; the time as it is stored then."""
        self.time += timedelta(seconds=seconds)
        return self.text

    @property
    def text(self) -> str:
        """The time as it is stored."""
        return self.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class TickingClock:
    """Seconds that pass when a test says so, for a server that asks again and again."""

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
        """Let time pass, until the server has done what it does at that time."""
        with self._condition:
            self._now += seconds
            # Who asks for the second time has done all that the first answer led to.
            enough = self._asked + 2
            assert self._condition.wait_for(lambda: self._asked >= enough, timeout=30)
