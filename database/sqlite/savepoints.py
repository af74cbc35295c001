"""Which units of work run in a savepoint.

A unit that succeeds, or that fails before it has changed anything, needs none. If another fails,
its batch is rolled back and run again with savepoints, and units of its kind get one for a while:
otherwise one client could make all batches run twice.
"""

import contextlib
import time
from collections.abc import Iterator

REMEMBERED_SECONDS = 60.0
"""How long units of a kind get a savepoint after one has failed late."""
_MOST_KINDS = 1000


class Savepoints:
    """Follows which kinds of units fail after they have changed something. For one thread."""

    __slots__ = ("_everywhere", "_until")

    def __init__(self) -> None:
        self._everywhere = False
        self._until: dict[object, float] = {}

    def needs_one(self, kind: object) -> bool:
        """Whether the next unit of this kind must run in a savepoint."""
        if self._everywhere:
            return True
        until = self._until.get(kind)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._until[kind]
        return False

    def failed_late(self, kind: object) -> None:
        """Note that a unit of this kind had changed something when it failed."""
        if len(self._until) >= _MOST_KINDS:
            self._until.clear()
        self._until[kind] = time.monotonic() + REMEMBERED_SECONDS

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[None]:
        """Give every unit of the block a savepoint."""
        self._everywhere = True
        try:
            yield
        finally:
            self._everywhere = False
