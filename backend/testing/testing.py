"""A server for tests: the calls, and what they change."""

import asyncio
import secrets
from contextvars import Context

from fastapi import FastAPI
from starlette.requests import Request

from backend.errors import InvalidField
from backend.http.state import state_of
from backend.runtime import Configuration, DataDirectory, Runtime
from backend.runtime.installation import make_private
from backend.schemas.testing import (
    ClockChange,
    ClockState,
    FaultsChange,
    FaultsState,
    StoreReset,
)
from backend.services.database_service import validated
from backend.testing.calls import Door, body_of, call
from backend.testing.clock import MovableClock
from backend.testing.faults import Faults, FaultyAnswers
from backend.testing.store import Renew, Store

RESET, CLOCK, FAULTS = "/testing/reset", "/testing/clock", "/testing/faults"


class ForTests:
    """What the composition root adds to an application for tests, and where it begins and ends."""

    def __init__(self, renew: Renew) -> None:
        """`renew` replaces what an application knows of its clients."""
        self.clock = MovableClock()
        self.faults = Faults()
        self._store = Store(renew, self.clock, self.faults)
        self._door = Door()
        self._may_empty = False

    def add_to(self, app: FastAPI) -> tuple[tuple[str, str], ...]:
        """Add the calls and the faults. Returns the methods and paths of the calls."""
        for path, answer, has_body in (
            (RESET, self._reset, False),
            (CLOCK, self._set_clock, True),
            (FAULTS, self._set_faults, True),
        ):
            app.router.routes.append(call(path, self._door, answer, has_body=has_body))
        app.add_middleware(FaultyAnswers, faults=self.faults)
        return ("POST", RESET), ("POST", CLOCK), ("POST", FAULTS)

    def look(self, settings: Configuration) -> None:
        """To be called before the installation starts: a store that exists by now, and was not
        begun by a server for tests, is never emptied."""
        directory = DataDirectory(settings.data_dir)
        self._may_empty = not directory.database.exists() or directory.testing_token.exists()

    def begin(self, settings: Configuration) -> None:
        """To be called when the installation has started: make the token. Raises
        `StartRefused`."""
        self._store.begin(may_empty=self._may_empty)
        token = f"srt_{secrets.token_urlsafe(32)}"
        path = DataDirectory(settings.data_dir).testing_token
        # An earlier server may have left one.
        path.unlink(missing_ok=True)
        make_private(path, token + "\n")
        self._door.token = token

    async def end(self) -> None:
        """To be called before the installation stops."""
        self._door.token = None
        await self._store.end()

    async def _reset(self, request: Request) -> StoreReset:
        return StoreReset(token=await self._store.empty(state_of(request.app)))

    async def _set_clock(self, request: Request) -> ClockState:
        change = validated(ClockChange, await body_of(request))
        given = [name for name, value in change.given_fields().items() if value is not None]
        if len(given) != 1:
            raise InvalidField((), "one_change", "give one of move_seconds, at and reset")
        runtime = state_of(request.app).installation
        # While no unit runs that has asked for the time, and may ask again.
        async with runtime.manager.async_transaction():
            if change.move_seconds is not None:
                self.clock.move(change.move_seconds)
            elif change.at is not None:
                self.clock.set(change.at)
            else:
                self.clock.reset()
            runtime.service.claims.presence.note_clock_set()
        if not self.faults.state.disk_full:
            # In a context of its own, because no fault of a request concerns it.
            await asyncio.create_task(_catch_up(runtime), context=Context())
        return self.clock.state

    async def _set_faults(self, request: Request) -> FaultsState:
        return self.faults.change(validated(FaultsChange, await body_of(request)))


async def _catch_up(runtime: Runtime) -> None:
    await runtime.catch_up()
