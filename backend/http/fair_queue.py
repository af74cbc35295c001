"""Limits how many requests run at once, and lets clients take turns.

Running requests compete with each other. With a limit, waiting requests cost only memory, running
ones stay quick, and a client gets no more turns by sending more requests. Belongs to the event
loop's thread.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from database.errors import DatabaseBusy

LINGER_SECONDS = 0.05
"""How long a client keeps its share after its last request, since its next one is usually on its
way. Otherwise a busier client would take all slots in the meantime."""


class FairQueue:
    """Slots for requests, shared among the active clients.

    Any client may take the first half of the slots. The other half is kept for clients that hold
    less than their share. A client without others may take more.
    """

    def __init__(
        self,
        number: int,
        timeout: float,
        *,
        alone: int | None = None,
        linger: float = LINGER_SECONDS,
    ) -> None:
        """`number` is the number of slots, and `alone` that for a client without others; by default
        the same. A request that has waited for `timeout` seconds is refused, and `linger` is in
        seconds as well."""
        self._number = number
        self._alone = alone or number
        self._held = 0
        self._timeout = timeout
        self._linger = linger
        self._clients: dict[Hashable, _Client] = {}
        """The clients that have a share."""
        self._idle: OrderedDict[Hashable, float] = OrderedDict()
        """The clients among them without a request, and since when, longest first."""
        self._waiting: OrderedDict[Hashable, _Client] = OrderedDict()
        """The clients that wait, in the order of their turns."""
        self._alarm: asyncio.TimerHandle | None = None
        self._review: asyncio.TimerHandle | None = None
        self.refused = 0
        """How many requests have waited too long."""

    @property
    def free(self) -> int:
        """The number of free slots among those for several clients."""
        return max(0, self._number - self._held)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(len(client.turns) for client in self._waiting.values())

    def take(self, name: Hashable) -> bool:
        """Take a slot for a client if it may have one now. Returns whether it got one."""
        if self._held >= self._alone:
            return False
        client = self._client(name)
        # A client's requests are served in their order.
        if client.turns or not self._may_have_one(client, *self._shares()):
            self._rest(name, client)
            return False
        client.held += 1
        self._held += 1
        return True

    async def wait(self, name: Hashable) -> float:
        """Take a slot for a client as soon as there is one. Returns the seconds of waiting.

        Raises `DatabaseBusy` after `timeout` seconds. A cancelled caller holds no slot.
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
                # The slot was handed over before the cancellation arrived.
                self.give_back(name)
            raise
        return loop.time() - turn.began

    def give_back(self, name: Hashable) -> None:
        """Give a client's slot back, and hand it to the next client."""
        client = self._clients[name]
        client.held -= 1
        self._held -= 1
        self._rest(name, client)
        if self._waiting:
            self._hand_out()

    @asynccontextmanager
    async def slot(self, name: Hashable) -> AsyncIterator[None]:
        """Hold a slot for a client during the block. Raises `DatabaseBusy` where `wait` does."""
        if not self.take(name):
            await self.wait(name)
        try:
            yield
        finally:
            self.give_back(name)

    def _client(self, name: Hashable) -> "_Client":
        """The client with this name, marked as active."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client()
        elif name in self._idle:
            del self._idle[name]
        return client

    def _rest(self, name: Hashable, client: "_Client") -> None:
        """Mark the client as idle if it holds no slot and waits for none."""
        if not client.held and not client.turns:
            self._idle[name] = asyncio.get_running_loop().time()

    def _may_have_one(self, client: "_Client", slots: int, share: int) -> bool:
        """Whether this client may take another one of this many slots."""
        return self._held < slots and (client.held < share or slots - self._held > slots // 2)

    def _shares(self) -> tuple[int, int]:
        """The number of slots, and how many of them each client may hold, however many requests
        others send."""
        if len(self._clients) == 1:
            return self._alone, self._alone
        latest = asyncio.get_running_loop().time() - self._linger
        while self._idle:
            name, since = next(iter(self._idle.items()))
            if since > latest:
                break
            del self._idle[name], self._clients[name]
        if len(self._clients) == 1:
            return self._alone, self._alone
        return self._number, -(-self._number // len(self._clients))

    def _hand_out(self) -> None:
        """Give the free slots to waiting clients, in turns, up to the share of each."""
        while self._waiting:
            slots, share = self._shares()
            if self._held >= slots:
                return
            for name, client in self._waiting.items():  # noqa: B007 - both are needed below
                if self._may_have_one(client, slots, share):
                    break
            else:
                # The slots left are kept for clients whose next request is on its way.
                if self._review is None:
                    loop = asyncio.get_running_loop()
                    self._review = loop.call_later(self._linger, self._look_again)
                return
            given = client.turns.popleft().given
            if client.turns:
                self._waiting.move_to_end(name)
            else:
                del self._waiting[name]
            # A cancelled caller has left its turn in the queue.
            if given.done():
                self._rest(name, client)
                continue
            client.held += 1
            self._held += 1
            given.set_result(None)

    def _look_again(self) -> None:
        self._review = None
        self._hand_out()

    def _expire(self) -> None:
        """Refuse the requests that have waited too long. One alarm serves all clients: the first
        request of each client has waited longest."""
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
    """The number of slots that a client holds, and its waiting requests."""

    __slots__ = ("held", "turns")

    def __init__(self) -> None:
        self.held = 0
        self.turns: deque[_Turn] = deque()


class _Turn:
    """A request that waits for a slot."""

    __slots__ = ("began", "given")

    def __init__(self, given: "asyncio.Future[None]", began: float) -> None:
        self.given = given
        self.began = began

    @property
    def is_given(self) -> bool:
        """Whether the request has been given a slot."""
        return self.given.done() and not self.given.cancelled() and self.given.exception() is None
