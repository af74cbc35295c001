"""Empties the store of a running server."""

import asyncio
from collections.abc import Callable, Collection
from contextvars import Context

from backend.errors import Refused, Unauthenticated
from backend.http.state import AppState
from backend.runtime.emptying import EmptyStore, later_epoch
from backend.services.access.tokens import Tokens
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from backend.services.principal import Principal
from backend.testing.clock import MovableClock
from backend.testing.faults import Faults
from database.errors import DatabaseBusy

_EMPTIED = "the store was emptied meanwhile: send the request again"
_NOT_FOR_TESTS = (
    "this store existed before a server for tests was started on it, so it is not emptied: choose "
    "a new --data-dir"
)

Renew = Callable[[AppState], None]
"""Replaces what an application knows of its clients."""


class Store:
    """Empties the store. Belongs to the event loop's thread."""

    def __init__(self, renew: Renew, clock: MovableClock, faults: Faults) -> None:
        self._renew = renew
        self._clock = clock
        self._faults = faults
        self._lock = asyncio.Lock()
        self._empty_store: asyncio.Task[EmptyStore] | None = None
        self._epoch = 1
        self._may_empty = False

    def begin(self, *, may_empty: bool) -> None:
        """Prepare. Without `may_empty` the store is never emptied."""
        self._may_empty = may_empty
        if may_empty:
            self._empty_store = asyncio.create_task(
                asyncio.to_thread(EmptyStore), name="strongroom-empty-store", context=Context()
            )

    async def end(self) -> None:
        """Wait until no store is being emptied, and free what was prepared."""
        async with self._lock:
            self._may_empty = False
            if self._empty_store is not None:
                (await self._empty_store).close()
                self._empty_store = None

    async def empty(self, state: AppState) -> str:
        """Begin again with an empty store, the real time and no faults. Returns the token of its
        administrator. It goes on when the caller is cancelled.

        Requests that are on their way have no effect any more and see nothing of the new store.
        Streams and waits end. Raises `Refused` for a store that may not be emptied, and
        `DatabaseError`; after that, nothing works before the next call.
        """
        # In a context of its own, because no fault of a request concerns it.
        task = asyncio.create_task(self._empty(state), context=Context())
        return await asyncio.shield(task)

    async def _empty(self, state: AppState) -> str:
        async with self._lock:
            if not self._may_empty or self._empty_store is None:
                raise Refused(_NOT_FOR_TESTS)
            empty_store = await self._empty_store
            self._faults.clear()
            ended = state.installation
            # First, because otherwise its background work would fail and log that.
            await ended.end_work()
            ended.own_logs.end()
            ended.heads.close()
            state.kept.stop()
            _end(ended.service, auth_required=state.auth_required)
            state.streams.stop()
            state.waits.stop()
            self._renew(state)
            self._clock.reset()
            self._epoch = later_epoch(self._epoch)
            runtime, token = await empty_store.begin_again(ended, epoch=self._epoch)
            state.runtime, state.service = runtime, runtime.service
            state.kept.start(runtime.service.kit.shown_versions)
            runtime.start_background_work(is_new=True)
            return token


def _end(service: DatabaseService, *, auth_required: bool) -> None:
    """Let nothing that still uses the service change or read anything."""
    service.tokens = ended = _EndedTokens(service.kit, auth_required=auth_required)
    service.kit.gate = ended


class _EndedTokens(Tokens):
    """The tokens of a store that was emptied: all have ended, although the next store has tokens
    with the same ids."""

    def __init__(self, kit: Kit, *, auth_required: bool) -> None:
        super().__init__(kit)
        self._auth_required = auth_required

    def may_have_ended(self, principal: Principal) -> bool:  # noqa: ARG002 - as all others
        """Always True."""
        return True

    async def require_valid(self, principal: Principal) -> None:  # noqa: ARG002 - as all others
        """Raises `Unauthenticated`, or `DatabaseBusy` where no request needs a token."""
        if self._auth_required:
            raise Unauthenticated
        raise DatabaseBusy(_EMPTIED)

    async def authenticate(self, token: str) -> Principal:  # noqa: ARG002 - as all others
        """Raises `Unauthenticated`."""
        raise Unauthenticated

    def known(self, token: bytes) -> Principal | None:  # noqa: ARG002 - as all others
        """`None`."""
        return None

    async def recall(self, token_id: int, generation: int) -> Principal | None:  # noqa: ARG002
        """`None`."""
        return None

    async def ended_among(self, principals: Collection[Principal]) -> frozenset[Principal]:
        """All of them."""
        return frozenset(principals)
