"""Who is served now, and who next: a bounded number of requests at once, in turns between clients.

Work that was begun competes with all other work that was begun. With a bound on it, what waits
costs nothing but memory, everything beside it stays quick, and no client gets more than its turn
by sending more. Belongs to the event loop's thread.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from database.errors import DatabaseBusy

LINGER_SECONDS = 0.05
"""A client has its share for so long after its last request: the next one is on its way. Without
that whoever sends more would have taken all slots by the time it comes."""


class FairQueue:
    """Permissions to work, shared out between the clients that have something to do.

    Half of them are for whoever is next. The others are kept for those clients that have less than
    their share; while there is only one client, that is all of them.
    """

    def __init__(self, number: int, timeout: float, *, linger: float = LINGER_SECONDS) -> None:
        """`timeout` is how long, in seconds, somebody waits before it is too long."""
        self._number = number
        self._free = number
        self._timeout = timeout
        self._linger = linger
        self._clients: dict[Hashable, _Client] = {}
        """Those that have a share."""
        self._idle: OrderedDict[Hashable, float] = OrderedDict()
        """Those of them that have nothing to do, and since when, longest first."""
        self._waiting: OrderedDict[Hashable, _Client] = OrderedDict()
        """Those that wait, in the order of their turns."""
        self._alarm: asyncio.TimerHandle | None = None
        self._review: asyncio.TimerHandle | None = None
        self.refused = 0
        """How many have waited too long."""

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(client.turns) for client in self._waiting.values())

    def take(self, name: Hashable) -> bool:
        """Take a slot for a client if it may have one now; whether it has."""
        if not self._free:
            return False
        client = self._client(name)
        # Its own requests come one after the other.
        if client.turns or not self._may_have_one(client, self._share()):
            self._rest(name, client)
            return False
        client.held += 1
        self._free -= 1
        return True

    async def wait(self, name: Hashable) -> float:
        """Wait for a slot for a client, and have it; the seconds that it took.

        Raises `DatabaseBusy` when that takes too long; who is cancelled has none either.
        """
        loop = asyncio.get_running_loop()
        turn = _Turn(loop.create_future(), loop.time())
        client = self._client(name)
        client.turns.append(turn)
        self._waiting.setdefault(name, client)
        if self._alarm is None:
            self._alarm = loop.call_later(self._timeout, self._expire)
        self._hand_out()
        try:
            await turn.given
        except asyncio.CancelledError:
            if turn.is_given:
                # It was handed over in the same moment.
                self.give_back(name)
            raise
        return loop.time() - turn.began

    def give_back(self, name: Hashable) -> None:
        """Give a client's slot back, to whoever is next."""
        client = self._clients[name]
        client.held -= 1
        self._free += 1
        self._rest(name, client)
        if self._waiting:
            self._hand_out()

    @asynccontextmanager
    async def slot(self, name: Hashable) -> AsyncIterator[None]:
        """Have a slot for a client in the block. Raises `DatabaseBusy` where `wait` does."""
        if not self.take(name):
            await self.wait(name)
        try:
            yield
        finally:
            self.give_back(name)

    def _client(self, name: Hashable) -> "_Client":
        """The client, which has something to do."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client()
        elif name in self._idle:
            del self._idle[name]
        return client

    def _rest(self, name: Hashable, client: "_Client") -> None:
        """Note it when the client has nothing to do."""
        if not client.held and not client.turns:
            self._idle[name] = asyncio.get_running_loop().time()

    def _may_have_one(self, client: "_Client", share: int) -> bool:
        """Whether one of the free slots is for this client."""
        return client.held < share or self._free > self._number // 2

    def _share(self) -> int:
        """The slots that are a client's in any case, as far as there are any."""
        if len(self._clients) == 1:
            return self._number
        latest = asyncio.get_running_loop().time() - self._linger
        while self._idle:
            name, since = next(iter(self._idle.items()))
            if since > latest:
                break
            del self._idle[name], self._clients[name]
        return -(-self._number // len(self._clients))

    def _hand_out(self) -> None:
        """Give free slots to those who wait, in turns, up to the share of each."""
        while self._free and self._waiting:
            share = self._share()
            for name, client in self._waiting.items():  # noqa: B007 - both are needed below
                if self._may_have_one(client, share):
                    break
            else:
                # What is left is for clients whose next request is on its way.
                if self._review is None:
                    loop = asyncio.get_running_loop()
                    self._review = loop.call_later(self._linger, self._look_again)
                return
            given = client.turns.popleft().given
            if client.turns:
                self._waiting.move_to_end(name)
            else:
                del self._waiting[name]
            # Who was cancelled has left its turn behind.
            if given.done():
                self._rest(name, client)
                continue
            client.held += 1
            self._free -= 1
            given.set_result(None)

    def _look_again(self) -> None:
        self._review = None
        self._hand_out()

    def _expire(self) -> None:
        """Refuse those who have waited too long. One alarm serves all, as each client's first has
        waited longest."""
        self._alarm = None
        loop = asyncio.get_running_loop()
        latest = loop.time() - self._timeout
        oldest = None
        for name, client in list(self._waiting.items()):
            turns = client.turns
            while turns and (turns[0].given.done() or turns[0].began <= latest):
                given = turns.popleft().given
                if not given.done():
                    self.refused += 1
                    given.set_exception(DatabaseBusy("too many requests are waiting"))
            if not turns:
                del self._waiting[name]
                self._rest(name, client)
            elif oldest is None or turns[0].began < oldest:
                oldest = turns[0].began
        if oldest is not None:
            self._alarm = loop.call_later(oldest - latest, self._expire)


class _Client:
    """What a client has and wants."""

    __slots__ = ("held", "turns")

    def __init__(self) -> None:
        self.held = 0
        self.turns: deque[_Turn] = deque()


class _Turn:
    """Somebody who waits."""

    __slots__ = ("began", "given")

    def __init__(self, given: "asyncio.Future[None]", began: float) -> None:
        self.given = given
        self.began = began

    @property
    def is_given(self) -> bool:
        """Whether it has been handed a slot."""
        return self.given.done() and not self.given.cancelled() and self.given.exception() is None
