"""One rotation of keys at a time, in a task beside the requests."""

import asyncio
import contextlib
import logging

from backend.schemas.keys import RotationProgress
from backend.services.operations.key_rotation import KeyRotation, RotationInterrupted
from backend.services.principal import SYSTEM, acting_as
from database.errors import DatabaseBusy, DatabaseError

logger = logging.getLogger("strongroom.keys")

ANSWER_SECONDS = 1.0
"""How long who asks for a rotation waits for its end; most are over by then."""
RETRY_SECONDS = 2.0
"""After how long a rotation goes on that met a full disk or another failure."""


class RotationRunner:
    """Runs what `KeyRotation` has begun. Belongs to one event loop."""

    def __init__(self, rotation: KeyRotation) -> None:
        self._rotation = rotation
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """The task that brings the running rotation to its end, begun now unless it runs."""
        if self._task is None or self._task.done():
            # It goes on when the token of the request that asked for it has ended.
            with acting_as(SYSTEM):
                self._task = asyncio.create_task(self._run(), name="key rotation")
        return self._task

    async def rotate(self, *, reencrypt: bool) -> RotationProgress:
        """How far a rotation is that is begun now, or that was running: at its end, or after a
        moment if it takes longer. Raises `RotationRunning` when one of the other kind is running,
        and `DatabaseError`."""
        begun = await self._rotation.begin(reencrypt=reencrypt)
        await asyncio.wait({self.start()}, timeout=ANSWER_SECONDS)
        return (await self._rotation.status()).rotation or begun

    async def resume(self) -> None:
        """Go on with a rotation that was interrupted. Raises `DatabaseError`."""
        if await self._rotation.is_unfinished():
            self.start()

    async def stop(self) -> None:
        """Stop between two steps; a later `resume` goes on."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        told: type[DatabaseError] | None = None
        while not self._stopping.is_set():
            try:
                await self._rotation.run(go_on=lambda: not self._stopping.is_set())
                return
            except RotationInterrupted:
                return
            except DatabaseBusy as error:
                # Others come first.
                await self._rest(error.retry_after)
            except DatabaseError as error:
                if type(error) is not told:
                    logger.warning("a key rotation was interrupted and will go on: %s", error)
                told = type(error)
                await self._rest(RETRY_SECONDS)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
