"""Key rotation in a background task, one rotation at a time."""

import asyncio
import logging

from backend.schemas.keys import RotationProgress
from backend.services.operations.key_rotation import KeyRotation, RotationInterrupted
from backend.services.single_task import SingleTask
from database.errors import DatabaseBusy, DatabaseError

logger = logging.getLogger("strongroom.keys")

ANSWER_SECONDS = 1.0
"""How long a request for a rotation waits for its end. Most rotations are finished by then."""
RETRY_SECONDS = 2.0
"""The wait before a rotation continues after a full disk or another failure."""


class RotationRunner:
    """Runs the rotations that `KeyRotation` has begun. Belongs to one event loop."""

    def __init__(self, rotation: KeyRotation) -> None:
        self._rotation = rotation
        self._task = SingleTask(
            "key rotation", self._run, by_service=True, on_failure=self._log_failure
        )
        self._failed_with: type[BaseException] | None = None
        """The kind of the last failure; `None` after a run to the end."""

    def start(self) -> "asyncio.Task[None]":
        """The task that finishes the rotation, started now unless it already runs."""
        return self._task.start()

    async def rotate(self, *, reencrypt: bool) -> RotationProgress:
        """Begin a rotation or join the running one, wait up to `ANSWER_SECONDS` for its end, and
        return its progress. Raises `RotationRunning` when one of the other kind is running,
        `SecretUnreadable` when the installation's key can't be read, and `DatabaseError`."""
        begun = await self._rotation.begin(reencrypt=reencrypt)
        await self._task.run_for(ANSWER_SECONDS)
        return (await self._rotation.status()).rotation or begun

    async def resume(self) -> None:
        """Continue an interrupted rotation. Raises `DatabaseError`."""
        if await self._rotation.is_unfinished():
            self.start()

    async def stop(self) -> None:
        """Stop between two steps; a later `resume` continues."""
        await self._task.stop()

    async def _run(self) -> None:
        told: type[DatabaseError] | None = None
        stopping = self._task.stopping
        while not stopping.is_set():
            try:
                await self._rotation.run(go_on=lambda: not stopping.is_set())
                self._failed_with = None
                return
            except RotationInterrupted:
                return
            except DatabaseBusy as error:
                # Requests come first.
                await stopping.rest(error.retry_after)
            except DatabaseError as error:
                if type(error) is not told:
                    logger.warning("a key rotation was interrupted and will go on: %s", error)
                told = type(error)
                await stopping.rest(RETRY_SECONDS)

    def _log_failure(self, error: BaseException) -> None:
        # `resume` starts the rotation again and again.
        if type(error) is not self._failed_with:
            logger.error("a key rotation failed: %s: %s", type(error).__name__, error)
        self._failed_with = type(error)
