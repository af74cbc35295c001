"""Keeps an index that searches use up to date in the background."""

import logging
import time
from collections.abc import Awaitable, Callable

from backend.repositories.following_index import Step
from backend.services.operations.search_index import SearchIndex
from backend.services.single_task import StopSignal

logger = logging.getLogger("strongroom.search")

_TIDY_SHARE = 20
"""A round that tidies the index is followed by a pause of this many times its duration: each round
rebuilds the whole index."""


class SearchIndexer:
    """Indexes new rows, and removes what the index has of removed ones. After each step it rests
    for as long as the step took, so that the writer is free for others half of the time."""

    def __init__(self, index: SearchIndex, what: str) -> None:
        """`what` names the rows in the log."""
        self._index = index
        self._what = what
        self._stopping = StopSignal()
        self._has_looked_back = False
        self._tidy_at = 0.0

    async def run(self) -> None:
        """Work until nothing is left to do. Raises `DatabaseError`; a later run goes on."""
        if not self._has_looked_back:
            if await self._index.turned_back_to() is not None:
                await self._index.go_back()
            self._has_looked_back = True
        state = await self._index.state()
        if not state.is_due:
            return
        if state.is_far_behind:
            logger.info("indexing %s for searches", self._what)
        if state.removals:
            await self._repeat(self._index.remove_next)
            state = await self._index.state()
        await self._repeat(self._index.index_next)
        if state.is_far_behind and not self._stopping.is_set():
            logger.info("all %s are indexed", self._what)
        if state.purges and time.monotonic() >= self._tidy_at:
            await self._tidy(state.purges)

    def stop(self) -> None:
        """End a run after its present step."""
        self._stopping.set()

    async def _repeat(self, work: Callable[[], Awaitable[Step]]) -> None:
        more = True
        while more and not self._stopping.is_set():
            began = time.monotonic()
            _, more = await work()
            if more:
                await self._stopping.rest(time.monotonic() - began)

    async def _tidy(self, purges: int) -> None:
        started = time.monotonic()
        more = begin = True
        while more and not self._stopping.is_set():
            began = time.monotonic()
            more = await self._index.tidy(begin=begin)
            begin = False
            if more:
                await self._stopping.rest(time.monotonic() - began)
        if not more:
            await self._index.tidied(purges)
        ended = time.monotonic()
        self._tidy_at = ended + (ended - started) * _TIDY_SHARE
