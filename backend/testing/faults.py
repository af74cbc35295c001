"""The faults that tests ask for, and where they happen: at a COMMIT, and where answers leave."""

import asyncio
import threading
from contextvars import Context

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.http.request_head import OUTLET
from backend.observability.request_ids import current_request_id
from backend.schemas.testing import FaultsChange, FaultsState
from database.errors import DatabaseBusy, DatabaseError, DatabaseFull

PATH = "/testing/"
"""What the paths of the calls for tests begin with. No fault concerns them."""
_ASKED_FOR = "as POST /testing/faults has asked for"


class Faults:
    """The faults to come: `CommitFaults`, and those of answers. The event loop sets them, and the
    writer's thread uses some up."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._state = FaultsState()
        self._is_for_request = False
        """Whether a request has made a part of the open transaction."""

    @property
    def state(self) -> FaultsState:
        """A copy of what is set."""
        with self._guard:
            return self._state.model_copy()

    def change(self, change: FaultsChange) -> FaultsState:
        """Set the given faults, and leave the others. Returns all."""
        given = {name: value for name, value in change.given_fields().items() if value is not None}
        with self._guard:
            self._state = self._state.model_copy(update=given)
        return self.state

    def clear(self) -> None:
        """Let nothing fail."""
        with self._guard:
            self._state = FaultsState()

    def note_job(self, context: Context) -> None:
        """Note a job of the next commit."""
        if context.run(current_request_id) is not None:
            self._is_for_request = True

    def of_commit(self, *, has_changes: bool) -> DatabaseError | None:
        """The error of the commit that is about to happen; `None` if it may succeed.

        Only commits for requests are counted, because the background commits at any time.
        """
        with self._guard:
            is_for_request, self._is_for_request = self._is_for_request, False
            if not has_changes:
                return None
            if self._state.disk_full:
                return DatabaseFull(f"the disk is full, {_ASKED_FOR}")
            if is_for_request and self._state.fail_next_commits:
                self._state.fail_next_commits -= 1
                return DatabaseBusy(f"the commit failed, {_ASKED_FOR}")
        return None

    def take_answer(self) -> bool:
        """Whether the answer that is about to leave gets lost."""
        with self._guard:
            if not self._state.lose_next_answers:
                return False
            self._state.lose_next_answers -= 1
            return True


class FaultyAnswers:
    """The middleware in front of a server for tests: answers come late, or get lost."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or lose the answer once the request has had its effect."""
        if scope["type"] != "http" or scope["path"].startswith(PATH):
            await self._app(scope, receive, send)
            return
        slow_ms = self._faults.state.slow_ms
        if slow_ms:
            await asyncio.sleep(slow_ms / 1000)
        is_lost = False

        async def send_or_lose(message: Message) -> None:
            nonlocal is_lost
            if message["type"] == "http.response.start" and self._faults.take_answer():
                is_lost = True
                _break(scope)
            if not is_lost:
                await send(message)

        await self._app(scope, receive, send_or_lose)


def _break(scope: Scope) -> None:
    """Close the connection of a request. Raises `ConnectionResetError` where there is none, for
    the program that calls the application itself."""
    outlet = scope.get(OUTLET)
    if outlet is None:
        raise ConnectionResetError(f"the answer got lost, {_ASKED_FOR}")
    outlet().abort()
