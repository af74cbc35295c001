"""Shares the turns of the event loop between the clients that get kept answers.

Such an answer waits for nothing and holds no slot, so without this the client with the most
connections would get most of the event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable

PER_TURN = 8
"""The answers that a client gets in one turn of the event loop while there are other clients."""
LINGER_SECONDS = 0.1
"""How long a client counts after its last answer."""


class KeptTurns:
    """Who may have a kept answer now. Belongs to the event loop that runs."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`clock` gives seconds. `at_end` is called after each turn with answers."""
        self._clock = clock
        self._at_end = at_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._end: asyncio.Handle | None = None
        self._answered: dict[Hashable, int] = {}
        self._recent: dict[Hashable, float] = {}
        self._waiting: dict[Hashable, deque[Callable[[], bool]]] = {}

    def take(self, client: Hashable, loop: asyncio.AbstractEventLoop) -> bool:
        """Take an answer of this turn of the running event loop for a client. Returns False when it
        must `wait`."""
        if loop is not self._loop:
            self._begin(loop)
        answered = self._answered.get(client, 0)
        if not answered and client not in self._recent:
            self._recent[client] = self._clock()
        # Alone, a client may have all of the turn.
        if len(self._recent) > 1 and (answered >= PER_TURN or client in self._waiting):
            return False
        self._answered[client] = answered + 1
        if self._end is None:
            self._end = loop.call_soon(self._end_turn)
        return True

    async def wait(self, client: Hashable) -> None:
        """Wait for an answer in a later turn, behind the client's own that wait already."""
        loop = asyncio.get_running_loop()
        given: asyncio.Future[None] = loop.create_future()

        def give() -> bool:
            # A cancelled caller has left its future behind.
            if given.done():
                return False
            given.set_result(None)
            return True

        self.queue(client, loop, give)
        await given

    def queue(
        self, client: Hashable, loop: asyncio.AbstractEventLoop, give: Callable[[], bool]
    ) -> None:
        """Call `give` in a later turn of the running event loop, in its order among the client's
        own. It returns whether it made use of the turn, and must not raise."""
        if loop is not self._loop:
            self._begin(loop)
        self._waiting.setdefault(client, deque()).append(give)
        if self._end is None:
            self._end = loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        assert self._loop is not None  # noqa: S101 - it has called this
        self._end = None
        self._at_end()
        self._note_recent(self._clock())
        self._answered = {}
        for client, waiting in list(self._waiting.items()):
            while waiting and self._answered.get(client, 0) < PER_TURN:
                if waiting.popleft()():
                    self._answered[client] = self._answered.get(client, 0) + 1
            if not waiting:
                del self._waiting[client]
        if self._answered:
            self._end = self._loop.call_soon(self._end_turn)

    def _note_recent(self, now: float) -> None:
        # Oldest first, so that a turn looks at few of the clients.
        for client in (*self._answered, *self._waiting):
            self._recent.pop(client, None)
            self._recent[client] = now
        while self._recent:
            client, latest = next(iter(self._recent.items()))
            if latest >= now - LINGER_SECONDS:
                break
            del self._recent[client]
