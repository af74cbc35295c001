"""A request that waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from enum import StrEnum
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from backend.errors import StrongroomError
from backend.services.principal import Principal

WAITED: Final = "strongroom.waited"
"""The key in a scope of the seconds for which its request had nothing to do."""


class Ending(StrEnum):
    """Why a wait ended."""

    NEWS = "news"
    """There was something to tell."""
    TIME = "time"
    """The time was up."""
    CLIENT = "client"
    """The client went away."""
    TOKEN = "token"  # noqa: S105 - not one
    """The token was revoked or has expired, or its session has ended."""
    SHARE = "share"
    """A stream needed the place."""
    SHUTDOWN = "shutdown"
    """The service ends."""
    FAILED = "failed"
    """The answer is an error."""


Outcome = Response | Ending
"""The news, or why there are none."""


class Waiter:
    """A request that waits. Belongs to the event loop's thread."""

    def __init__(self, request: Request, principal: Principal, seconds: int) -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.principal = principal
        """The sender, as the token was checked last."""
        self.until = loop.time() + seconds
        """When the wait ends, as the loop's clock tells."""
        self.context = copy_context()
        """The request's own, for work in its name on another task."""
        self.ended: Ending | None = None
        """Why the wait is over for good; `None` while it goes on, or if there are news."""
        self._loop = loop
        self._woken: asyncio.Future[Outcome] | None = None

    def wake(self, outcome: Outcome) -> None:
        """End the wait, unless it has ended."""
        if isinstance(outcome, Ending) and outcome is not Ending.NEWS and self.ended is None:
            self.ended = outcome
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """End the wait with an error, which the client gets."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_exception(error)

    @property
    def is_waiting(self) -> bool:
        """Whether `woken` is running and nothing has ended it."""
        return self._woken is not None and not self._woken.done()

    async def woken(self) -> Outcome:
        """Wait. Raises the error of `fail`, and `ClientDisconnect` when the client has left."""
        if self.ended is not None:
            return self._outcome(self.ended)
        self._woken = self._loop.create_future()
        began = self._loop.time()
        try:
            return self._outcome(await self._woken)
        finally:
            self._woken = None
            scope = self.request.scope
            scope[WAITED] = scope.get(WAITED, 0.0) + self._loop.time() - began

    def _outcome(self, outcome: Outcome) -> Outcome:
        if outcome is Ending.NEWS and self.ended is not None:
            # Something else has ended it before this could be told.
            outcome = self.ended
        if outcome is Ending.CLIENT:
            raise ClientDisconnect
        return outcome

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """End the wait when its time is up, and when the client leaves."""
        timer = self._loop.call_at(self.until, self.wake, Ending.TIME)
        listening = self._loop.create_task(self._listen())
        try:
            yield
        finally:
            timer.cancel()
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self) -> None:
        """Wait until the client has left."""
        try:
            while (await self.request.receive())["type"] != "http.disconnect":
                pass
        except StrongroomError:
            # What the client sends behind this request is wrong: the server closes the connection
            # after the answer.
            return
        self.wake(Ending.CLIENT)
