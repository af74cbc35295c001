"""Logs as a feed."""

from collections.abc import Sequence
from functools import lru_cache

from backend.repositories.log_words import phrases, words
from backend.repositories.system_log_repository import LogFilter
from backend.services.feeds import Entry
from backend.services.row_feed import RowFeed
from models import LogLevel, SystemLog


class LogFeed(RowFeed[LogFilter, SystemLog]):
    """All logs, in the order of their ids."""

    name = "logs"
    table = "system_logs"
    everything = LogFilter()

    def traits(self, row: SystemLog) -> "_Traits":
        """What `admits` looks at."""
        return _Traits(row)

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
            and _happened_within(log, wanted.timestamp_since, wanted.timestamp_until)
            and (not wanted.words or traits.has(_phrases(wanted.words)))
        )


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


def _happened_within(log: SystemLog, since: str | None, until: str | None) -> bool:
    if since is None and until is None:
        return True
    at = log.timestamp if log.timestamp is not None else log.created_at
    return (since is None or at >= since) and (until is None or at <= until)


def _number(level: LogLevel) -> int:
    # A level that was damaged in the file is below all others.
    return _NUMBERS.get(level, 0)


_NUMBERS = {level: level.number for level in LogLevel}


@lru_cache(maxsize=256)
def _phrases(terms: tuple[str, ...]) -> Sequence[str]:
    return phrases(" ".join(terms))
