"""Whether the service has run all the time: it is absent when it is stopped, when its machine is
suspended, and when it can't write. Meanwhile workers can't send heartbeats."""

from datetime import datetime, timedelta
from typing import Final

from database.base import Clock

TICK_SECONDS: Final = 0.5
"""How often presence is to be noted."""
_LONGEST_GAP: Final = timedelta(seconds=1.5)
"""More between two notes is an absence. It is short, as leases may last a second."""


class Presence:
    """Counts absences. The event loop notes presence; any thread may ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: datetime | None = None
        self._made_up_for = 0
        self.absences = 0
        """The absences so far; the time before the start is the first one."""

    def begin(self) -> None:
        """Start to count. Before that, no absence is known of."""
        self._seen = self._clock()
        self.absences += 1

    def note(self) -> None:
        """The service is running now."""
        now = self._clock()
        if self._is_gap(now):
            self.absences += 1
        self._seen = now

    def note_if_begun(self) -> None:
        """The service is running now, if `begin` was called: where nothing serves, nothing would
        make up for an absence."""
        if self._seen is not None:
            self.note()

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
        """Tell that what so many absences did has been made good."""
        self._made_up_for = absences

    @property
    def is_made_up_for(self) -> bool:
        """Whether no absence is left to be made good, also none that was not noted yet."""
        return self._made_up_for == self.absences and not self._is_gap(self._clock())

    def _is_gap(self, now: datetime) -> bool:
        # A clock that is set, forward or back, tells nothing of how long a lease has lasted either.
        return self._seen is not None and abs(now - self._seen) > _LONGEST_GAP
