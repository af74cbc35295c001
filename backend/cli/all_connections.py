"""All connections of a server: made, looked at once in a while, and told of.

A request costs no timer, and nothing to start or to cancel: the timer that uvicorn has anyway does
the looking.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from backend.cli.connections import TOO_MANY, Connection, ConnectionLimits
from backend.cli.last_answers import LastAnswers
from backend.observability.log import get_logger

logger = get_logger("strongroom.connections")

_LOOKS = 10
"""How often a connection is looked at in the time that it has."""
_CROWDED = 0.75
"""The part of all connections from which on idle ones have no more time than the others."""
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
        self._clock = clock
        self.seen: Counter[str] = Counter()
        """What clients did that none should, how often since the start."""
        self._told: Counter[str] = Counter()
        self._last_look = clock()
        self._last_warning = -_SECONDS_BETWEEN_WARNINGS

    def make(self, **arguments: Any) -> Connection:
        """A protocol for a new connection; the arguments are uvicorn's."""
        return Connection(self._limits, self.seen, self.last_answers, **arguments)

    def look(self, connections: Iterable[Connection]) -> None:
        """Close those whose clients have used up their time. To be called often."""
        now = self._clock()
        between = self._limits.seconds / _LOOKS
        elapsed = now - self._last_look
        if elapsed < between:
            return
        # While the process itself stood still, what clients had sent was not read.
        elapsed = min(elapsed, 2 * between)
        self._last_look = now
        self._tell(now)
        looked_at = list(connections)
        crowded = len(looked_at) >= self._limits.connections * _CROWDED
        closed: Counter[str] = Counter()
        for connection in looked_at:
            wait = connection.overdue(elapsed, crowded=crowded)
            if wait is not None:
                # Not an orderly close, which would wait for what is written to be read. Nothing
                # is answered: a 408 that crosses a request would be taken for its answer.
                connection.transport.abort()
                closed[wait] += 1
        if closed:
            self.seen["slow"] += closed.total()
            logger.info("slow clients closed", **closed)

    def _tell(self, now: float) -> None:
        """Say what was seen, in a line for all of it, and not often: it is strangers who cause it,
        as fast as they like."""
        if now - self._last_warning < _SECONDS_BETWEEN_WARNINGS:
            return
        untold = self.seen - self._told
        # Those were told when they were closed.
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
