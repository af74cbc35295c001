"""Measures and logs answered requests, those of one turn of the event loop together.

One by one they would cost twice as much.
"""

import asyncio

from backend.http.metrics import RequestMetrics
from backend.observability.log import Access, log_accesses


class Accesses:
    """The answered requests of this turn. Belongs to the event loop's thread."""

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics
        self._answered: list[Access] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def note(self, access: Access, loop: asyncio.AbstractEventLoop) -> None:
        """Measure and log a request at the end of this turn of the running event loop."""
        # What a loop that has ended has left goes to the next one.
        if not self._answered or loop is not self._loop:
            self._loop = loop
            loop.call_soon(self._settle)
        self._answered.append(access)

    def _settle(self) -> None:
        accesses, self._answered = self._answered, []
        observe = self._metrics.observe
        for _, _, method, template, status, seconds in accesses:
            observe(method, template, status, seconds)
        log_accesses(accesses)
