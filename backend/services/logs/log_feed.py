"""Logs as a feed."""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from backend.repositories.log_words import phrases, words
from backend.repositories.paging import Page
from backend.repositories.system_log_repository import LogFilter
from backend.services.base import Kit
from backend.services.feeds import Entry, Extent, Heard, Part
from database.changes import HeardVersion
from models import LogLevel, SystemLog

Following = Callable[[LogFilter, int, int | None, int], Awaitable[Page[SystemLog]]]
FindExtent = Callable[[], Awaitable[Extent]]

_ALL = LogFilter()


class LogFeed:
    """All logs, in the order of their ids."""

    name = "logs"

    def __init__(self, kit: Kit, following: Following, extent: FindExtent) -> None:
        """`following` and `extent` are the methods of `Logs`."""
        self._following = following
        self._extent = extent
        self._version = HeardVersion()
        kit.db_manager.async_pool.table_versions.counting(
            [("system_logs", "insert")], self._version
        )

    async def extent(self) -> Extent:
        """Which logs there are."""
        return await self._extent()

    async def following(
        self, wanted: LogFilter | None, after_id: int, until_id: int | None, limit: int
    ) -> Part:
        """See `Feed.following`."""
        page = await self._following(wanted or _ALL, after_id, until_id, limit)
        entries = [Entry(log.id, log.model_dump_json, _Traits(log)) for log in page.items]
        return Part(entries, page.next_position is None)

    def admits(self, wanted: LogFilter, entry: Entry) -> bool:
        """Whether the filter would find the log."""
        traits: _Traits = entry.traits
        log = traits.log
        return (
            (wanted.level is None or _number(log.level) >= wanted.level.number)
            and wanted.component in (None, log.component)
            and wanted.correlation_id in (None, log.correlation_id)
            and wanted.agent_run_id in (None, log.agent_run_id)
            and (wanted.project_ids is None or log.project_id in wanted.project_ids)
            and (wanted.since is None or log.created_at >= wanted.since)
            and (wanted.until is None or log.created_at <= wanted.until)
            and (not wanted.words or traits.has(_phrases(wanted.words)))
        )

    def listen(self, heard: Heard | None) -> None:
        """Call `heard` after each commit with new logs."""
        self._version.heard = partial(heard, None) if heard is not None else None

    def committed(self, told: Any) -> None:
        """`None`: logs are read, because what stores them does not know their ids."""


class _Traits:
    """What filters look at."""

    __slots__ = ("_words", "log")

    def __init__(self, log: SystemLog) -> None:
        self.log = log
        self._words: str | None = None

    def has(self, phrases: Sequence[str]) -> bool:
        """Whether the message has all of these phrases, and there is one."""
        if self._words is None:
            self._words = f" {' '.join(words(self.log.message))} "
        return bool(phrases) and all(f" {phrase} " in self._words for phrase in phrases)


def _number(level: LogLevel) -> int:
    # A level that was damaged in the file is below all others.
    return _NUMBERS.get(level, 0)


_NUMBERS = {level: level.number for level in LogLevel}


@lru_cache(maxsize=256)
def _phrases(terms: tuple[str, ...]) -> Sequence[str]:
    return phrases(" ".join(terms))
