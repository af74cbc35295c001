"""Backups, one at a time, made on a thread of their own."""

import asyncio
import logging
import math
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from backend.repositories.paging import Page
from backend.schemas.backups import Backup, BackupCreated, BackupList, BackupProgress
from backend.services.base import UseCases, unit_of_work
from backend.services.commits import Unrecorded
from backend.services.kinds import Kind
from backend.services.operations.work_progress import BACKUP_STEPS, WorkProgress
from backend.services.single_task import SingleTask
from database.errors import DatabaseBusy

logger = logging.getLogger("strongroom.backups")

BUSY_SECONDS = 5
"""`Retry-After` for a request while another backup runs, until its end can be estimated."""


class Backups(UseCases):
    """The audit rows of backups."""

    @unit_of_work
    async def record(self, name: str) -> None:
        """Record in the audit that the whole database was copied."""
        async with self.transaction() as repositories:
            await self.kit.audit.record(repositories, Kind.BACKUP_CREATED, target=f"backups/{name}")


class BackupStore(Protocol):
    """Makes and stores backups. Callable on any thread."""

    def make(
        self, now: datetime, before_publishing: Callable[[str], None], progress: WorkProgress
    ) -> BackupCreated:
        """Make a backup, and tell `progress` how far it is. `before_publishing` is called with its
        name once it is verified; if that raises, the backup is removed."""
        ...

    def after(self, name: str | None, limit: int) -> list[Backup]:
        """Up to `limit` backups, newest first, older than the one called `name`."""
        ...


class BackupRunner:
    """Makes and lists backups for requests. Belongs to one event loop."""

    def __init__(self, backups: Backups, store: BackupStore) -> None:
        self._backups = backups
        self._store = store
        self._task = SingleTask("backup", self._make, on_failure=_log_failure)
        self._progress = WorkProgress(BACKUP_STEPS)

    @property
    def progress(self) -> BackupProgress:
        """How far the running backup is."""
        if not self._task.is_running():
            return BackupProgress()
        return BackupProgress(self._progress.share, self._progress.seconds_left() or 0.0)

    async def create(self) -> BackupCreated:
        """A new backup, verified, recorded and durable. It goes on when the caller is cancelled.

        Raises `DatabaseBusy` while another backup runs, and `DatabaseError`.
        """
        if self._task.is_running():
            raise _busy(self._progress)
        self._progress = WorkProgress(BACKUP_STEPS)
        return await asyncio.shield(self._task.start())

    async def page(self, *, limit: int = 50, cursor: str | None = None) -> BackupList:
        """One page of backups, newest first. Raises `BadCursor` and `DatabaseError`."""
        listing = self._backups.kit.listing("backups", cursor=cursor)
        after = str(listing.after[0]) if listing.after is not None else None
        found = await asyncio.to_thread(self._store.after, after, limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        page = Page(found[:limit], (last.name,) if last is not None else None)
        return listing.answer(BackupList, page, backups=page.items)

    async def stop(self) -> None:
        """Wait for the running backup."""
        await self._task.stop()

    async def _make(self) -> BackupCreated:
        loop = asyncio.get_running_loop()

        def record(name: str) -> None:
            asyncio.run_coroutine_threadsafe(self._backups.record(name), loop).result()

        made = await asyncio.to_thread(
            self._store.make, self._backups.clock(), record, self._progress
        )
        # The entry came before, when the list did not show it yet.
        self._backups.kit.commits.tell(Unrecorded.BACKUPS)
        return made


def _busy(progress: WorkProgress) -> DatabaseBusy:
    left = progress.seconds_left()
    if left is None:
        return DatabaseBusy("another backup is running", retry_after=BUSY_SECONDS)
    seconds = max(1, math.ceil(left))
    return DatabaseBusy(
        f"another backup is running: {progress.share:.0%} is done, and about {seconds} seconds are "
        "left",
        retry_after=seconds,
    )


def _log_failure(error: BaseException) -> None:
    logger.error("a backup failed: %s: %s", type(error).__name__, error)
