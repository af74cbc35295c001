"""One client that follows a feed."""

import asyncio
import time
from enum import StrEnum

from backend.http.streams.messages import Piece
from backend.http.streams.outlets import Outlet
from backend.services.principal import Principal

BEHIND_BYTES = 64 * 1024
"""A client that is further behind than this is left behind: it goes on from its last id later."""


class Ending(StrEnum):
    """Why a stream ended."""

    CLIENT = "client"
    """The client closed it."""
    SLOW = "slow"
    """The client was too far behind."""
    TOKEN = "token"  # noqa: S105 - not one
    """The token was revoked or has expired."""
    SHARE = "share"
    """Another token needed the place."""
    REMOVED = "removed"
    """What the client was about to get was removed for its age, or what it follows as a whole."""
    SHUTDOWN = "shutdown"
    """The service ends."""
    FAILED = "failed"
    """The entries could not be read."""


WITHOUT_FAREWELL = frozenset({Ending.CLIENT, Ending.SLOW})
"""The client is gone, or would not read it."""


class Stream:
    """One client that follows a feed. Belongs to the event loop's thread."""

    __slots__ = ("client", "ending", "feed", "last_at", "outlet", "over", "principal", "sent")

    def __init__(self, feed: str, principal: Principal, client: object, outlet: Outlet) -> None:
        """`client` is who shares the places of streams: a token, or an address."""
        self.feed = feed
        self.principal = principal
        self.client = client
        self.outlet = outlet
        self.sent = 0
        """The number of entries so far."""
        self.last_at = time.monotonic()
        """When something was written last."""
        self.ending: Ending | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the stream has ended."""
        outlet.on_lost(self._lost)

    def write(self, piece: Piece, now: float) -> None:
        """Write a piece, unless the stream has ended."""
        if self.ending is None:
            self.outlet.write(piece)
            self.sent += piece.entries
            self.last_at = now

    def tell(self, piece: Piece, now: float) -> None:
        """The same, but end the stream if the client is too far behind."""
        if self.ending is None and self.outlet.unsent_bytes > BEHIND_BYTES:
            self.end(Ending.SLOW)
        else:
            self.write(piece, now)

    async def drain(self) -> None:
        """Wait while the client has much to read, or until the stream has ended."""
        draining = asyncio.ensure_future(self.outlet.drain())
        try:
            await asyncio.wait((draining, self.over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()

    def end(self, ending: Ending) -> None:
        """End the stream, unless it has ended."""
        if self.ending is None:
            self.ending = ending
            if not self.over.done():
                self.over.set_result(None)

    def _lost(self) -> None:
        self.end(Ending.CLIENT)
