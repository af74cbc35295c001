"""All connections of a server: makes them, checks them now and then, and logs what it finds.

Requests need no timers of their own, because uvicorn's existing timer runs the checks.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from backend.cli.connections import TOO_MANY, Connection, ConnectionLimits
from backend.cli.last_answers import LastAnswers
from backend.http.application import Application
from backend.observability.log import get_logger

logger = get_logger("strongroom.connections")

_LOOKS = 10
"""How often a connection is checked during `ConnectionLimits.seconds`."""
_CROWDED = 0.75
"""The share of the permitted connections above which idle ones get no more time than others."""
_SECONDS_BETWEEN_WARNINGS = 60.0


class Connections:
    """All connections of a server."""

    def __init__(
        self,
        limits: ConnectionLimits,
        clock: Callable[[], float] = time.monotonic,
        last_answers: LastAnswers | None = None,
    ) -> None:
        self._limits = limits
        self.last_answers = last_answers or LastAnswers()
        self.application: Application | None = None
        """Answers past ASGI's messages; `None` for another kind of application."""
        self._clock = clock
        self.seen: Counter[str] = Counter()
        """Faults of clients since the start, by kind, such as `slow` or `too_many`."""
        self._told: Counter[str] = Counter()
        self._last_look = clock()
        self._last_warning = -_SECONDS_BETWEEN_WARNINGS

    @property
    def limit(self) -> int:
        """The number of connections that may be open at once."""
        return self._limits.connections

    def make(self, **arguments: Any) -> Connection:
        """A protocol for a new connection; the arguments are uvicorn's."""
        return Connection(self._limits, self.seen, self.last_answers, self.application, **arguments)

    def look(self, connections: Iterable[Connection]) -> None:
        """Close the connections whose clients have used up their time. Must be called often."""
        now = self._clock()
        between = self._limits.seconds / _LOOKS
        elapsed = now - self._last_look
        if elapsed < between:
            return
        # While the process itself was blocked, it did not read what clients had sent.
        elapsed = min(elapsed, 2 * between)
        self._last_look = now
        self._tell(now)
        looked_at = list(connections)
        crowded = len(looked_at) >= self._limits.connections * _CROWDED
        closed: Counter[str] = Counter()
        for connection in looked_at:
            wait = connection.overdue(elapsed, crowded=crowded)
            if wait is not None:
                # An orderly close would wait until the client has read everything. No answer is
                # sent: a client would take a 408 for the answer to a request that crosses it.
                connection.transport.abort()
                closed[wait] += 1
        if closed:
            self.seen["slow"] += closed.total()
            logger.info("slow clients closed", **closed)

    def _tell(self, now: float) -> None:
        """Log the new counts, at most once a minute: unknown clients could fill the log."""
        if now - self._last_warning < _SECONDS_BETWEEN_WARNINGS:
            return
        untold = self.seen - self._told
        # Slow clients were logged when they were closed.
        del untold["slow"]
        if not untold:
            return
        if untold[TOO_MANY]:
            logger.warning(
                "connections refused: STRONGROOM_MAX_CONNECTIONS is reached",
                refused=untold[TOO_MANY],
                limit=self._limits.connections,
            )
        others = {kind: count for kind, count in untold.items() if kind != TOO_MANY}
        if others:
            logger.warning("clients sent requests that this server does not serve", **others)
        self._last_warning = now
        self._told = self.seen.copy()
