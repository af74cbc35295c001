"""Whether the service has run without a gap. It is absent while it is stopped, while its machine
is suspended, and while it can't write. Workers can't send heartbeats during an absence."""

from datetime import datetime, timedelta
from typing import Final

from database.base import Clock

TICK_SECONDS: Final = 0.5
"""The interval of presence notes."""
_LONGEST_GAP: Final = timedelta(seconds=1.5)
"""A longer gap between two notes is an absence. It is short, because a lease may last a second."""


class Presence:
    """Counts absences. The event loop notes presence, and units that enclose a claim or a
    heartbeat; any thread may ask. If two threads notice one gap, it may count once or twice."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: datetime | None = None
        self._made_up_for = 0
        self.absences = 0
        """The absences so far; the time before the start is the first one."""

    def begin(self, *, is_new: bool = False) -> None:
        """Start to count. Absences before this are not noticed. For a store that `is_new`, there is
        none to make up for."""
        self._seen = self._clock()
        self.absences += 1
        if is_new:
            self.make_up_for(self.absences)

    def note(self) -> None:
        """Note that the service is running now."""
        now = self._clock()
        if self._is_gap(now):
            self.absences += 1
        self._seen = now

    def note_if_begun(self) -> None:
        """Note that the service is running now, if `begin` was called. Without a server, nothing
        would make up for an absence."""
        if self._seen is not None:
            self.note()

    def note_clock_set(self) -> None:
        """Note that the clock was set on purpose, which is no absence."""
        if self._seen is not None:
            self._seen = self._clock()

    def note_failure(self) -> None:
        """A write failed, so the service is absent, if `begin` was called."""
        if self._seen is not None:
            self.absences += 1

    def note_wait(self, since: datetime) -> None:
        """A write that was asked for at `since` has ended; a long wait is an absence."""
        if self.has_waited(since):
            self.absences += 1

    def has_waited(self, since: datetime) -> bool:
        """Whether a write that was asked for at `since` has waited for long, and heartbeats with
        it. Where nothing serves, none has."""
        return self._seen is not None and abs(self._clock() - since) > _LONGEST_GAP

    def make_up_for(self, absences: int) -> None:
        """Note that this many absences have been made up for."""
        self._made_up_for = absences

    @property
    def is_made_up_for(self) -> bool:
        """Whether every absence has been made up for, including one that is not noted yet."""
        return self._made_up_for == self.absences and not self._is_gap(self._clock())

    def _is_gap(self, now: datetime) -> bool:
        # After the clock was set, forward or back, the age of a lease is unknown too.
        return self._seen is not None and abs(now - self._seen) > _LONGEST_GAP
