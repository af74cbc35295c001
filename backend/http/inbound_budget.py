"""How much unknown senders may take up: memory for bodies whose signature is not checked yet.

Refusing newcomers when the memory is full would let a few slow senders keep all others out. So a
newcomer takes the room of an unfinished body, and the oldest loses it first: an honest sender's
body is here in milliseconds. Belongs to the event loop's thread.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from backend.errors import RateLimited
from backend.http.rate_limits import network_of

K = TypeVar("K")

SMALL_BYTES: Final = 1024 * 1024
"""Nearly all of GitHub's deliveries are no larger, and these have room of their own."""
NO_ROOM: Final = "too many deliveries are arriving at once: send this one again later"
_SHARES: Final = 2
"""An address, or a webhook, that has more than one of so many shares of the room loses it first."""


class InboundRoom:
    """Memory that bodies of one kind share."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        """Bytes that are taken now."""
        self._bodies: dict[InboundBody, None] = {}
        """Those that have some of it, the oldest first."""
        self._by_address: Counter[str] = Counter()
        self._by_webhook: Counter[int] = Counter()

    def take(self, body: "InboundBody", size: int) -> None:
        """Count `size` more bytes of the body; other bodies are ended if they are in the way.

        Raises `RateLimited` when this body is the next to be ended.
        """
        while self.used + size > self.max_bytes:
            other = self._next_to_end()
            if other is None or other is body:
                raise RateLimited(NO_ROOM)
            self.leave(other)
            other.end()
        self._bodies.setdefault(body)
        self._count(body, size)

    def leave(self, body: "InboundBody") -> None:
        """Take back all that the body has."""
        if body in self._bodies:
            del self._bodies[body]
            self._count(body, -body.size)

    def _count(self, body: "InboundBody", size: int) -> None:
        self.used += size
        body.size += size
        _add(self._by_address, body.address, size)
        _add(self._by_webhook, body.webhook_id, size)

    def _next_to_end(self) -> "InboundBody | None":
        """The oldest unchecked body of the address that has more than its share, else of the
        webhook that has, else of all; `None` when all are checked."""
        unchecked = [body for body in self._bodies if not body.is_checked]
        share = self.max_bytes // _SHARES
        for body in unchecked:
            if self._by_address[body.address] > share:
                return body
        for body in unchecked:
            if self._by_webhook[body.webhook_id] > share:
                return body
        return unchecked[0] if unchecked else None


class InboundBody:
    """A body that comes in, and what it has of a room."""

    def __init__(self, room: InboundRoom, webhook_id: int, address: str) -> None:
        self._room = room
        self._deadline: asyncio.Timeout | None = None
        self.webhook_id = webhook_id
        self.address = network_of(address)
        self.size = 0
        """Bytes that count."""
        self.is_checked = False
        """Its signature was right, so that it keeps its room until it is stored."""
        self.is_ended = False
        """Another body has its room."""

    def read_within(self, deadline: asyncio.Timeout) -> None:
        """Tell which time limit bounds the reading of this body."""
        self._deadline = deadline

    def take(self, size: int) -> None:
        """Have room for `size` more bytes. Raises `RateLimited` when there is none."""
        if self.is_ended:
            # A piece of it was here before its time was over.
            raise RateLimited(NO_ROOM)
        self._room.take(self, size)

    def end(self) -> None:
        """Let the time for reading this body be over."""
        self.is_ended = True
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())


class InboundLimits:
    """What unknown senders may take up: memory, all of them together, and time, each body."""

    def __init__(
        self,
        *,
        small_bytes: int = 20 * 1024 * 1024,
        large_bytes: int = 80 * 1024 * 1024,
        seconds: float = 30.0,
        patience: float = 5.0,
        bytes_per_second: int = 64 * 1024,
    ) -> None:
        """A body has `seconds` at most, and `patience` more than it takes at `bytes_per_second`."""
        self.small = InboundRoom(small_bytes)
        """For bodies of at most `SMALL_BYTES`, and for no others."""
        self.large = InboundRoom(large_bytes)
        """For larger ones, and those that don't say how large they are."""
        self.seconds = seconds
        self.patience = patience
        self.bytes_per_second = bytes_per_second
        self.refused: Counter[str] = Counter()
        """Deliveries that were refused since the start, by reason."""

    @property
    def used(self) -> int:
        """Bytes that are taken now."""
        return self.small.used + self.large.used

    def seconds_for(self, size: int) -> float:
        """The seconds after which a body has to be whole, if only so many bytes have come."""
        return min(self.seconds, self.patience + size / self.bytes_per_second)

    @contextmanager
    def body(self, webhook_id: int, address: str, length: int | None) -> Iterator[InboundBody]:
        """A body that may take room in the block, which is given back at its end.

        `length` is what the request says; `None` when it says nothing.
        """
        room = self.small if length is not None and length <= SMALL_BYTES else self.large
        body = InboundBody(room, webhook_id, address)
        try:
            yield body
        finally:
            room.leave(body)


def _add(counter: Counter[K], key: K, size: int) -> None:
    counter[key] += size
    if not counter[key]:
        del counter[key]
