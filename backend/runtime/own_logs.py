"""Stores the service's own warnings and errors in the table of logs.

Logging a line only adds it to a queue, which costs next to nothing; a moment later all queued lines
are stored together. Errors in this module are logged too, but never queued, so that a failure to
store a line can't produce another line to store.
"""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError

from backend.errors import StrongroomError
from backend.observability.log import add_tap, as_json, get_logger, remove_tap
from backend.schemas.logs import LogEntry, OwnLogEntry
from backend.schemas.plain_logs import MAX_LOGS, MAX_MESSAGE, MAX_NAME
from database.errors import DatabaseBusy, DatabaseError, DatabaseFull

Store = Callable[[Sequence[LogEntry]], Awaitable[object]]

_NAME = "strongroom.own_logs"
_ELSEWHERE = frozenset({"level", "logger", "event", "request_id"})
"""Parts of a line that have their own column."""
_STRANGERS = "strongroom.connections"
"""A logger whose lines anyone who can connect may cause."""
_MAX_TRACEBACK = 20_000
_MINUTE = 60.0

logger = get_logger(_NAME)


class OwnLogs:
    """Queues at most `limit` lines that wait to be stored.

    Lines that unknown clients can cause are not stored. Each logger may store `per_minute` lines of
    a level, so that repeating a failing request can't fill the table.
    """

    def __init__(
        self,
        store: Store,
        *,
        limit: int = 1000,
        per_minute: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._limit = limit
        self._per_minute = per_minute
        self._clock = clock
        self._minute = -_MINUTE
        self._of_minute: Counter[tuple[str, str]] = Counter()
        self._lines: deque[dict[str, Any]] = deque()
        self._guard = threading.Lock()
        self._untold = 0
        self.dropped = 0
        """The number of lines that were not stored: too many, or refused by the database."""

    def begin(self) -> None:
        """Start to queue lines that any thread logs."""
        add_tap(self._offer)

    def end(self) -> None:
        """Stop queueing lines."""
        remove_tap(self._offer)

    @property
    def waiting(self) -> int:
        """The number of lines that are not stored yet."""
        return len(self._lines)

    def _offer(self, line: Mapping[str, Any]) -> None:
        if not _is_for_the_table(line):
            return
        with self._guard:
            if len(self._lines) < self._limit and self._is_within_rate(line):
                self._lines.append(dict(line))
            else:
                self._count_dropped(1)

    def _is_within_rate(self, line: Mapping[str, Any]) -> bool:
        now = self._clock()
        if now - self._minute >= _MINUTE:
            self._minute = now
            self._of_minute.clear()
        kind = line["logger"], line["level"]
        self._of_minute[kind] += 1
        return self._of_minute[kind] <= self._per_minute

    async def store_waiting(self) -> None:
        """Store the queued lines. They stay queued while the database is busy or its disk full."""
        while self._lines:
            batch = list(islice(self._lines, MAX_LOGS))
            try:
                await self._store([_entry(line) for line in batch])
            except (DatabaseBusy, DatabaseFull) as error:
                logger.warning("own log lines are waiting to be stored", cause=str(error))
                return
            except (DatabaseError, StrongroomError) as error:
                logger.error("own log lines could not be stored", cause=str(error))  # noqa: TRY400
                with self._guard:
                    self._count_dropped(len(batch))
            # Only this method removes lines, so the batch is still in front.
            for _ in batch:
                self._lines.popleft()
            self._tell_of_dropped()

    def _count_dropped(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _tell_of_dropped(self) -> None:
        with self._guard:
            untold, self._untold = self._untold, 0
        if untold:
            logger.warning("own log lines were not stored", lines=untold)


def _is_for_the_table(line: Mapping[str, Any]) -> bool:
    name = line["logger"]
    # uvicorn's warnings are about what clients send.
    by_strangers = name == _STRANGERS or (name.startswith("uvicorn") and line["level"] == "warning")
    return name != _NAME and not by_strangers


def _entry(line: Mapping[str, Any]) -> LogEntry:
    name = str(line["logger"])
    fields = {
        "level": line["level"].upper(),
        "message": _text(line["event"])[:MAX_MESSAGE] or "(no text)",
        "component": _text(name if name.startswith("strongroom") else f"strongroom.{name}")[
            :MAX_NAME
        ],
        "correlation_id": line.get("request_id"),
    }
    context = {name: value for name, value in line.items() if name not in _ELSEWHERE}
    if "exception" in context:
        # The end of a traceback is the most useful part.
        context["exception"] = _text(context["exception"])[-_MAX_TRACEBACK:]
    try:
        return OwnLogEntry.model_validate({**fields, "context": json.loads(as_json(context))})
    except ValidationError:
        # The context is too large, or has text that is not valid Unicode.
        kept = {name: context[name] for name in ("timestamp", "exception") if name in context}
        return OwnLogEntry.model_validate({**fields, "context": {**kept, "incomplete": True}})


def _text(value: object) -> str:
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()
