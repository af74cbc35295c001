"""One rotation of keys at a time, in a task beside the requests."""

import asyncio
import logging

from backend.schemas.keys import RotationProgress
from backend.services.operations.key_rotation import KeyRotation, RotationInterrupted
from backend.services.single_task import SingleTask
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
        self._task = SingleTask("key rotation", self._run, by_service=True)

    def start(self) -> "asyncio.Task[None]":
        """The task that brings the running rotation to its end, begun now unless it runs."""
        return self._task.start()

    async def rotate(self, *, reencrypt: bool) -> RotationProgress:
        """How far a rotation is that is begun now, or that was running: at its end, or after a
        moment if it takes longer. Raises `RotationRunning` when one of the other kind is running,
        and `DatabaseError`."""
        begun = await self._rotation.begin(reencrypt=reencrypt)
        await self._task.run_for(ANSWER_SECONDS)
        return (await self._rotation.status()).rotation or begun

    async def resume(self) -> None:
        """Go on with a rotation that was interrupted. Raises `DatabaseError`."""
        if await self._rotation.is_unfinished():
            self.start()

    async def stop(self) -> None:
        """Stop between two steps; a later `resume` goes on."""
        await self._task.stop()

    async def _run(self) -> None:
        told: type[DatabaseError] | None = None
        stopping = self._task.stopping
        while not stopping.is_set():
            try:
                await self._rotation.run(go_on=lambda: not stopping.is_set())
                return
            except RotationInterrupted:
                return
            except DatabaseBusy as error:
                # Others come first.
                await stopping.rest(error.retry_after)
            except DatabaseError as error:
                if type(error) is not told:
                    logger.warning("a key rotation was interrupted and will go on: %s", error)
                told = type(error)
                await stopping.rest(RETRY_SECONDS)
