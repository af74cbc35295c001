"""Who is served now, and who next: a bounded number of requests at once, in turns between clients.

Work that was begun competes with all other work that was begun. With a bound on it, what waits
costs nothing but memory, everything beside it stays quick, and no client gets more than its turn
by sending more. Belongs to the event loop's thread.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable

from database.errors import DatabaseBusy


class Seats:
    """Permissions to work, handed over to the clients that wait, one after the other."""

    def __init__(self, number: int, timeout: float) -> None:
        """`timeout` is how long, in seconds, somebody waits before it is too long."""
        self._free = number
        self._timeout = timeout
        self._waiting: OrderedDict[Hashable, deque[_Turn]] = OrderedDict()
        """Who waits, by client. The first client is the next; its next turn comes after all
        others'."""
        self._alarm: asyncio.TimerHandle | None = None
        self.refused = 0
        """How many have waited too long."""

    @property
    def free(self) -> int:
        """Seats that nobody has."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def take(self) -> bool:
        """Take a seat if there is one; whether the caller has it now."""
        # While anybody waits none is free: each that is given back is handed over at once.
        if self._free:
            self._free -= 1
            return True
        return False

    async def wait(self, client: Hashable) -> float:
        """Wait for a seat and have it; the seconds that it took.

        Raises `DatabaseBusy` when that takes too long; who is cancelled has none either.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        turn = _Turn(loop.create_future(), began)
        self._waiting.setdefault(client, deque()).append(turn)
        if self._alarm is None:
            self._alarm = loop.call_later(self._timeout, self._expire)
        try:
            await turn.given
        except asyncio.CancelledError:
            if turn.is_given:
                # It was handed over in the same moment.
                self.give_back()
            raise
        return loop.time() - began

    def give_back(self) -> None:
        """Give a seat back, to whoever is next."""
        while self._waiting:
            client, turns = next(iter(self._waiting.items()))
            given = turns.popleft().given
            if turns:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            # Who was cancelled has left its turn behind.
            if not given.done():
                given.set_result(None)
                return
        self._free += 1

    def _expire(self) -> None:
        """Refuse those who have waited too long. One alarm serves all, as each client's first has
        waited longest."""
        self._alarm = None
        loop = asyncio.get_running_loop()
        latest = loop.time() - self._timeout
        oldest = None
        for client, turns in list(self._waiting.items()):
            while turns and (turns[0].given.done() or turns[0].began <= latest):
                given = turns.popleft().given
                if not given.done():
                    self.refused += 1
                    given.set_exception(DatabaseBusy("too many requests wait for their turn"))
            if not turns:
                del self._waiting[client]
            elif oldest is None or turns[0].began < oldest:
                oldest = turns[0].began
        if oldest is not None:
            self._alarm = loop.call_later(oldest - latest, self._expire)


class _Turn:
    """Somebody who waits."""

    __slots__ = ("began", "given")

    def __init__(self, given: "asyncio.Future[None]", began: float) -> None:
        self.given = given
        self.began = began

    @property
    def is_given(self) -> bool:
        """Whether it has been handed a seat."""
        return self.given.done() and not self.given.cancelled() and self.given.exception() is None
