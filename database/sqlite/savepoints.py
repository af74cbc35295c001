"""Which units of work run in a savepoint.

A unit that succeeds, or that fails before it has changed anything, needs none. If another fails,
its batch is rolled back and run again with savepoints, and units of its kind get one for a while:
otherwise one client could make all batches run twice.
"""

import time
from collections.abc import Callable, Hashable

REMEMBERED_SECONDS = 60.0
"""How long units of a kind get a savepoint after one has failed late."""
_MOST_KINDS = 1000


class Savepoints:
    """Follows which kinds of units fail after they have changed something. For one thread."""

    __slots__ = ("_clock", "_until", "everywhere")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self.everywhere = False
        """Whether units of all kinds need one."""
        self._clock = clock
        self._until: dict[Hashable, float] = {}

    def needs_one(self, kind: Hashable) -> bool:
        """Whether the next unit of this kind must run in a savepoint."""
        if self.everywhere:
            return True
        until = self._until.get(kind)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._until[kind]
        return False

    def failed_late(self, kind: Hashable) -> None:
        """Note that a unit of this kind had changed something when it failed."""
        if len(self._until) >= _MOST_KINDS:
            self._until.clear()
        self._until[kind] = self._clock() + REMEMBERED_SECONDS
