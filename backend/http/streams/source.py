"""The source of all streams of one feed."""

import asyncio
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context
from typing import Any

from backend.http.streams.messages import Piece, entry_message, joined
from backend.http.streams.stream import Ending, Stream
from backend.observability.log import get_logger
from backend.services.feeds import Entry, Feed
from database.errors import DatabaseError

logger = get_logger("strongroom.streams")

PAUSE_SECONDS = 0.005
"""The least time between two deliveries, so that commits that follow at once share one."""
PAUSE_FACTOR = 2.0
"""The pause after a delivery that took long: so many times as long. The loop has other work."""
IN_A_TURN = 32
"""How many streams are written to, or passed over, in one turn of the event loop."""
PIECE_PAUSE_SECONDS = 0.002
"""The pause between pieces of a large commit, in which clients read."""
READ_AT_ONCE = 500
RETRY_SECONDS = 0.5


class Source:
    """Takes the entries of a feed once, and writes them to all streams that want them.

    It runs while there are streams.
    """

    def __init__(self, feed: Feed[Any], check: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`check` ends the streams whose token has ended. Called before each delivery."""
        self.feed = feed
        self.last_id = 0
        """The id up to which all entries were given to the streams that had joined by then."""
        self.epoch = 0
        self.has_failed = False
        """Whether it tells of nothing more."""
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._streams: dict[Stream, None] = {}
        """Those that have joined, and those that are about to."""
        self._channels: dict[Any, dict[Stream, None]] = {}
        self._removals: int | None = None
        """The feed's `removals` for which all streams that have joined were looked at."""
        self._told: list[Any] = []
        self._must_read = False
        """Whether more entries follow `last_id` than it was told of."""
        self._is_told_of_all = False
        """Whether all that it will be told of is newer than `last_id`."""
        self._has_news = asyncio.Event()
        self._has_moved: asyncio.Future[None] = self._loop.create_future()
        """Done once `last_id` is another."""
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._task = self._loop.create_task(
            self._run(), name=f"strongroom-{feed.name}", context=Context()
        )

    async def enter(self, stream: Stream) -> None:
        """Wait until `last_id` is known. From now on, the stream ends when the source fails. Raises
        `DatabaseError` when it has failed already."""
        self._streams[stream] = None
        await asyncio.shield(self._begun)

    async def reach(self, id: int, stream: Stream) -> None:
        """Wait until `last_id` is at least `id`, or the stream has ended."""
        while self.last_id < id and stream.ending is None:
            await asyncio.wait((self._has_moved, stream.over), return_when=FIRST_COMPLETED)

    def join(self, stream: Stream, wanted: Any) -> None:
        """Write the entries after `last_id` to the stream."""
        self._channels.setdefault(wanted, {})[stream] = None
        # What it follows may have been removed since it was found.
        self._removals = None

    def leave(self, stream: Stream, wanted: Any) -> None:
        """Write nothing more to the stream."""
        self._streams.pop(stream, None)
        channel = self._channels.get(wanted)
        if channel is not None:
            channel.pop(stream, None)
            if not channel:
                del self._channels[wanted]

    async def end_of_removed(self) -> None:
        """End the streams of what was removed as a whole. Raises `DatabaseError`."""
        removals = self.feed.removals
        if removals is None or removals == self._removals:
            return
        self._removals = removals
        try:
            removed = await self.feed.removed(list(self._channels))
        except DatabaseError:
            self._removals = None
            raise
        for wanted in removed:
            for stream in list(self._channels.get(wanted, ())):
                stream.end(Ending.REMOVED)

    def stop(self) -> None:
        """Stop at once."""
        self.feed.listen(None)
        self._task.cancel()

    async def _run(self) -> None:
        try:
            self.feed.listen(self._hear)
            extent = await self.feed.extent()
            self.epoch, self.last_id = extent.epoch, extent.last_id
            self._begun.set_result(None)
            await self._follow()
        except Exception as error:
            self.has_failed = True
            self.feed.listen(None)
            if not self._begun.done():
                self._begun.set_exception(error)
                # The first stream gets it.
                self._begun.exception()
                return
            logger.exception("streams failed", feed=self.feed.name)
            self._end_all()

    def _end_all(self) -> None:
        for stream in list(self._streams):
            stream.end(Ending.FAILED)

    def _hear(self, told: Any) -> None:
        """On the thread that commits."""
        self._loop.call_soon_threadsafe(self._note, told)

    def _note(self, told: Any) -> None:
        self._told.append(told)
        self._has_news.set()

    async def _follow(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            try:
                entries = await self._take()
                if entries:
                    await self._check()
            except DatabaseError as error:
                logger.warning("entries can't be read", feed=self.feed.name, cause=str(error))
                self._must_read = True
                self._has_news.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not entries:
                continue
            began = time.monotonic()
            await self._deliver(entries)
            took = time.monotonic() - began
            await asyncio.sleep(max(PAUSE_SECONDS, PAUSE_FACTOR * took))

    async def _take(self) -> Sequence[Entry]:
        """The entries after `last_id` that are known, in order."""
        told, self._told = self._told, []
        if self._must_read:
            return await self._read()
        taken: list[Entry] = []
        next_id = self.last_id + 1
        for commit in told:
            entries = self.feed.committed(commit)
            if entries is None:
                return await self._read()
            if self._is_told_of_all and entries[0].id < next_id:
                # Another program has cut the record, so that its ids are given out again. Clients
                # that come back find out whether they have missed something.
                self._end_all()
                self._move(entries[-1].id)
                return ()
            for entry in entries:
                if entry.id > next_id:
                    return await self._read()
                # What was committed before the last read is known by it.
                if entry.id == next_id:
                    taken.append(entry)
                    next_id += 1
                    self._is_told_of_all = True
        return taken

    async def _read(self) -> Sequence[Entry]:
        self._must_read, self._is_told_of_all = True, False
        part = await self.feed.following(None, self.last_id, None, READ_AT_ONCE)
        if part.is_last:
            self._must_read = False
        else:
            self._has_news.set()
        return part.entries

    def _move(self, last_id: int) -> None:
        self.last_id = last_id
        self._has_moved.set_result(None)
        self._has_moved = self._loop.create_future()

    async def _deliver(self, entries: Sequence[Entry]) -> None:
        # A stream that joins meanwhile has read these itself.
        self._move(entries[-1].id)
        now = time.monotonic()
        messages: dict[int, bytes] = {}
        channels = [(wanted, list(channel)) for wanted, channel in self._channels.items()]
        steps = 0
        for wanted, streams in channels:
            for number, piece in enumerate(self._pieces(wanted, entries, messages)):
                if number:
                    await asyncio.sleep(PIECE_PAUSE_SECONDS)
                for stream in streams:
                    stream.tell(piece, now)
                    steps += 1
                    if not steps % IN_A_TURN:
                        await asyncio.sleep(0)
            steps += 1
            if not steps % IN_A_TURN:
                await asyncio.sleep(0)

    def _pieces(
        self, wanted: Any, entries: Iterable[Entry], messages: dict[int, bytes]
    ) -> Sequence[Piece]:
        """The messages of the wanted entries. `messages` keeps those that were made already."""
        admits = self.feed.admits
        found = [entry for entry in entries if admits(wanted, entry)]
        for entry in found:
            if entry.id not in messages:
                messages[entry.id] = entry_message(self.epoch, entry)
        return list(joined(messages[entry.id] for entry in found))
