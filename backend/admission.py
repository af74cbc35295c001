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
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        """Who waits, by client. The first client is the next; its next turn comes after all
        others'."""
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

    async def wait(self, client: Hashable) -> None:
        """Wait for a seat and have it.

        Raises `DatabaseBusy` when that takes too long; who is cancelled has none either.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        alarm = loop.call_later(self._timeout, self._expire, client, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # It was handed over in the same moment.
                self.give_back()
            else:
                self._forget(client, turn)
            raise
        finally:
            alarm.cancel()

    def give_back(self) -> None:
        """Give a seat back, to whoever is next."""
        while self._waiting:
            client, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            if turns:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _expire(self, client: Hashable, turn: "asyncio.Future[None]") -> None:
        if turn.done():
            return
        self._forget(client, turn)
        self.refused += 1
        turn.set_exception(DatabaseBusy("too many requests are waiting for their turn"))

    def _forget(self, client: Hashable, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting.get(client)
        if turns is None or turn not in turns:
            return
        turns.remove(turn)
        if not turns:
            del self._waiting[client]
