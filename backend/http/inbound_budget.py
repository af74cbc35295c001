"""Limits the memory for bodies of unknown senders, whose signature is not checked yet.

Refusing new bodies when the memory is full would let a few slow senders block all others. So a new
body takes the room of an unfinished one, the oldest first: an honest sender's body arrives in
milliseconds. Belongs to the event loop's thread.
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
"""Bodies up to this size have their own room. Nearly all deliveries from GitHub are smaller."""
NO_ROOM: Final = "too many deliveries are arriving at once: send this one again later"
_SHARES: Final = 2
"""A room has this many shares. Addresses and webhooks that use more than one lose room first."""


class InboundRoom:
    """Memory that bodies of one kind share."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        """The bytes in use."""
        self._bodies: dict[InboundBody, None] = {}
        """The bodies that use some of the room, the oldest first."""
        self._by_address: Counter[str] = Counter()
        self._by_webhook: Counter[int] = Counter()

    def take(self, body: "InboundBody", size: int) -> None:
        """Count `size` more bytes of the body. Ends other bodies if there is not enough room.

        Raises `RateLimited` when this body itself is the next to be ended.
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
        """Free the room that the body uses."""
        if body in self._bodies:
            del self._bodies[body]
            self._count(body, -body.size)

    def _count(self, body: "InboundBody", size: int) -> None:
        self.used += size
        body.size += size
        _add(self._by_address, body.address, size)
        _add(self._by_webhook, body.webhook_id, size)

    def _next_to_end(self) -> "InboundBody | None":
        """The oldest unchecked body of an address with more than its share, else of a webhook with
        more than its share, else of all bodies; `None` when all are checked."""
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
    """An incoming body, and the bytes of a room that it uses."""

    def __init__(self, room: InboundRoom, webhook_id: int, address: str) -> None:
        self._room = room
        self._deadline: asyncio.Timeout | None = None
        self.webhook_id = webhook_id
        self.address = network_of(address)
        self.size = 0
        """The bytes counted so far."""
        self.is_checked = False
        """The signature was valid, so the body keeps its room until it is stored."""
        self.is_ended = False
        """Another body has taken the room."""

    def read_within(self, deadline: asyncio.Timeout) -> None:
        """Set the time limit for reading this body."""
        self._deadline = deadline

    def take(self, size: int) -> None:
        """Reserve `size` more bytes. Raises `RateLimited` when there is no room."""
        if self.is_ended:
            # This piece arrived before the rescheduled deadline took effect.
            raise RateLimited(NO_ROOM)
        self._room.take(self, size)

    def end(self) -> None:
        """End the time for reading this body now."""
        self.is_ended = True
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())


class InboundLimits:
    """Limits for unknown senders: memory for all bodies together, and time for each body."""

    def __init__(
        self,
        *,
        small_bytes: int = 20 * 1024 * 1024,
        large_bytes: int = 80 * 1024 * 1024,
        seconds: float = 30.0,
        patience: float = 5.0,
        bytes_per_second: int = 64 * 1024,
    ) -> None:
        """A body may take `seconds` at most. It may take `patience` seconds longer than it would at
        `bytes_per_second`."""
        self.small = InboundRoom(small_bytes)
        """Only for bodies of at most `SMALL_BYTES`."""
        self.large = InboundRoom(large_bytes)
        """For larger bodies, and for bodies without a declared length."""
        self.seconds = seconds
        self.patience = patience
        self.bytes_per_second = bytes_per_second
        self.refused: Counter[str] = Counter()
        """Deliveries refused since the start, by reason."""

    @property
    def used(self) -> int:
        """The bytes in use."""
        return self.small.used + self.large.used

    def seconds_for(self, size: int) -> float:
        """The time limit in seconds for a body of which `size` bytes have arrived so far."""
        return min(self.seconds, self.patience + size / self.bytes_per_second)

    @contextmanager
    def body(self, webhook_id: int, address: str, length: int | None) -> Iterator[InboundBody]:
        """A body that may take room during the block; the room is freed at the end.

        `length` is the declared length; `None` when the request does not tell it.
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
