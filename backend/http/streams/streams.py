"""All open streams of an application."""

import asyncio
import random
import time
from collections import Counter
from contextvars import Context
from typing import Any

from backend.errors import TooManyStreams
from backend.http.streams.messages import COMMENT
from backend.http.streams.source import Source
from backend.http.streams.stream import Ending, Stream
from backend.observability.log import get_logger
from backend.services.database_service import DatabaseService
from backend.services.feeds import Feed
from database.errors import DatabaseError

logger = get_logger("strongroom.streams")

LOOK_SECONDS = 0.25
"""How often tokens, removals and idle streams are looked at."""
COMMENT_SECONDS = 15.0
"""A stream without news for so long gets a comment."""
RETRY_AFTER_SECONDS = 5
RETRY_MS = 1000
"""Clients come back so long after the server ended their streams, or up to twice as long, so that
they don't all come at once."""
_MOST_OF_CONNECTIONS = 0.75
"""The share of the connections that streams may take."""


class Streams:
    """The open streams: who may have one, and when they end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.ended: Counter[str] = Counter()
        """Ended streams by `Ending`."""
        self.refused = 0
        """How many streams were refused because there were too many."""
        self._sent: Counter[str] = Counter()
        self._open: dict[Stream, None] = {}
        self._by_client: Counter[object] = Counter()
        self._sources: dict[str, Source] = {}
        self._service: DatabaseService | None = None
        self._looking: asyncio.Task[None] | None = None
        self._checked = -1
        """The generation of tokens for which all streams were checked."""
        self._is_stopping = False

    def fit(self, connections: int) -> None:
        """Leave a part of the server's connections to other requests."""
        self.limit = min(self.limit, int(connections * _MOST_OF_CONNECTIONS))

    def successor(self) -> "Streams":
        """The streams of another store, with the same limit, when these end."""
        return Streams(self.limit)

    def __len__(self) -> int:
        """The number of open streams."""
        return len(self._open)

    def open(self) -> dict[str, int]:
        """The number of open streams by feed."""
        return dict(Counter(stream.feed for stream in self._open))

    def sent(self) -> dict[str, int]:
        """The number of entries that were sent, by feed."""
        sent = self._sent.copy()
        for stream in self._open:
            sent[stream.feed] += stream.sent
        return dict(sent)

    def require_place(self, client: object) -> None:
        """Raises `TooManyStreams` if the client can't have another stream now. When all places are
        taken, a client gets one from the client that has the most, if that has twice as many."""
        if self._is_stopping:
            raise TooManyStreams("the service is ending: try again in a moment", 1)
        if len(self._open) < self.limit:
            return
        most = max(self._by_client.values(), default=0)
        if most and most >= 2 * (self._by_client[client] + 1):
            richest = next(other for other, count in self._by_client.items() if count == most)
            for stream in reversed(self._open):
                if stream.client == richest and stream.ending is None:
                    stream.end(Ending.SHARE)
                    self._forget_client(stream)
                    break
            return
        self.refused += 1
        raise TooManyStreams(
            "close a stream, try again later, or raise STRONGROOM_MAX_STREAMS", RETRY_AFTER_SECONDS
        )

    def add(self, stream: Stream, service: DatabaseService) -> None:
        """Count a stream, and look after it."""
        self._service = service
        if self._is_stopping:
            stream.end(Ending.SHUTDOWN)
        if not service.tokens.is_settled(stream.principal):
            # Its token may have ended since it was checked.
            self._checked = -1
        self._open[stream] = None
        self._by_client[stream.client] += 1
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(
                self._look(), name="strongroom-streams", context=Context()
            )

    def source(self, feed: Feed[Any]) -> Source:
        """The source of this feed, which is running."""
        source = self._sources.get(feed.name)
        if source is None or source.has_failed:
            source = self._sources[feed.name] = Source(feed, self._end_of_tokens)
        return source

    def remove(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        del self._open[stream]
        if stream.ending is not Ending.SHARE:
            self._forget_client(stream)
        self.ended[stream.ending or Ending.CLIENT] += 1
        self._sent[stream.feed] += stream.sent
        if not any(other.feed == stream.feed for other in self._open):
            source = self._sources.pop(stream.feed, None)
            if source is not None:
                source.stop()
        if not self._open and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def start(self) -> None:
        """Take streams, also after a stop."""
        self._is_stopping = False

    def stop(self) -> None:
        """End all streams, and refuse new ones."""
        self._is_stopping = True
        for stream in list(self._open):
            stream.end(Ending.SHUTDOWN)

    def retry_ms(self) -> int:
        """When a client should come back, in milliseconds."""
        return RETRY_MS + random.randrange(RETRY_MS)  # noqa: S311 - only spreads them

    def _forget_client(self, stream: Stream) -> None:
        self._by_client[stream.client] -= 1
        if self._by_client[stream.client] <= 0:
            del self._by_client[stream.client]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._end_of_tokens()
            except DatabaseError as error:
                logger.warning("tokens of streams can't be checked", cause=str(error))
            await self._end_of_removed()
            now = time.monotonic()
            for stream in list(self._open):
                if now - stream.last_at >= COMMENT_SECONDS:
                    stream.tell(COMMENT, now)

    async def _end_of_removed(self) -> None:
        for source in list(self._sources.values()):
            try:
                await source.end_of_removed()
            except DatabaseError as error:
                logger.warning("removals can't be read", feed=source.feed.name, cause=str(error))

    async def _end_of_tokens(self) -> None:
        """End the streams whose token has expired or was revoked. Raises `DatabaseError`."""
        service = self._service
        if service is None:
            return
        tokens = service.tokens
        now = service.clock()
        for stream in list(self._open):
            expires_at = stream.principal.expires_at
            if expires_at is not None and now >= expires_at:
                stream.end(Ending.TOKEN)
        generation = tokens.generation
        if generation == self._checked:
            return
        ended = await tokens.ended_among({stream.principal for stream in self._open})
        for stream in list(self._open):
            if stream.principal in ended:
                stream.end(Ending.TOKEN)
        self._checked = generation
