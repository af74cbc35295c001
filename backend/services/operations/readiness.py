"""Whether requests can be served, and if not, why."""

import asyncio

from backend.repositories import Repositories
from backend.repositories.following_index import IndexState
from backend.repositories.schema_version import newest_schema_version, schema_version
from backend.schemas.system import (
    LogsToIndex,
    Readiness,
    ReadinessCheck,
    ReadinessChecks,
    RowsToIndex,
)
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.operations.log_indexing import LogIndexing
from backend.services.single_task import SingleTask
from database.errors import DatabaseClosed, DatabaseError

_QUEUE_SHARE = 0.9
"""A writer queue filled beyond this share will soon refuse work."""


_FULL = (
    "the disk is full: writes are refused until there is space, and so are reveals, because each "
    "is recorded"
)


class ReadinessProbe(UseCases):
    """The checks of `/ready`."""

    def __init__(self, kit: Kit, log_indexing: LogIndexing) -> None:
        super().__init__(kit)
        self._log_indexing = log_indexing
        self._checking = SingleTask("readiness", self._check_all)

    async def check(self) -> Readiness:
        """Every check with its result; never raises a `DatabaseError`."""
        # Concurrent requests share one check. It runs before other work and its callers need no
        # token, so many checks could delay authenticated clients.
        return await asyncio.shield(self._checking.start())

    async def _check_all(self) -> Readiness:
        # Both run at once and before waiting work, because probes matter most under overload.
        writes = asyncio.ensure_future(self._writes())
        try:
            migrations, keys, projects, runs = await self._records()
            reads = True
        except DatabaseError:
            migrations = keys = "the database can't be read"
            reads, projects, runs = False, None, None
        writable = await writes
        checks = ReadinessChecks(
            database=_check(None if writable and reads else "reading or writing fails"),
            migrations=_check(migrations),
            keys=_check(keys),
            writer_queue=_check(self._writer_queue()),
            writes=self._room() if writable else _check("writing fails"),
        )
        ok = all(check.status == "ok" for _, check in checks)
        return Readiness(
            status="ready" if ok else "not_ready",
            checks=checks,
            log_words=self._log_words(),
            project_index=_progress(projects),
            run_index=_progress(runs),
        )

    def _log_words(self) -> LogsToIndex | None:
        progress = self._log_indexing.progress
        return LogsToIndex(total=progress.total, done=progress.done) if progress else None

    async def _writes(self) -> bool:
        """Whether the writer runs and commits a transaction that changes nothing."""
        try:
            await self._write_nothing()
        except DatabaseError:
            return False
        return True

    @unit_of_work(read_only=False, urgent=True)
    async def _write_nothing(self) -> None:
        async with self.transaction():
            pass

    @unit_of_work(read_only=True, urgent=True)
    async def _records(
        self,
    ) -> tuple[str | None, str | None, IndexState | None, IndexState | None]:
        """What is wrong with the migrations, and with the keys; `None` if nothing is. And how far
        the indexes of projects and runs have got; `None` if the schema is another version's."""
        async with self.transaction() as repositories:
            migrations, keys = await _migrations(repositories), await self._keys(repositories)
            if migrations is not None:
                return migrations, keys, None, None
            projects = await repositories.project_index.state()
            return migrations, keys, projects, await repositories.run_index.state()

    async def _keys(self, repositories: Repositories) -> str | None:
        try:
            canaries = await repositories.keys.canaries_in_use()
        except DatabaseError:
            return "the key records can't be read"
        bad = [id for id, canary in canaries.items() if not self.kit.vault.check_canary(id, canary)]
        return f"these master keys do not match the database: {', '.join(bad)}" if bad else None

    def _room(self) -> ReadinessCheck:
        """Whether the disk takes writes."""
        try:
            full = self.db_manager.async_pool.writer.is_full
        except DatabaseClosed:
            return _check("the database is closed")
        if full:
            return ReadinessCheck(status="full", detail=_FULL)
        if self.db_manager.has_read_only_storage():
            return _check("the file system is read-only")
        return _check(None)

    def _writer_queue(self) -> str | None:
        stats = self.db_manager.async_pool.stats()
        if not stats["open"]:
            return "the database is closed"
        if stats["poisoned"]:
            return "the writer has stopped"
        limit = self.db_manager.config.queue_limit
        if stats["writer"]["unanswered"] >= limit * _QUEUE_SHARE:
            return "the writer's queue is almost full"
        return None


async def _migrations(repositories: Repositories) -> str | None:
    try:
        version = await schema_version(repositories.executor)
    except DatabaseError:
        return "the schema version can't be read"
    if version != newest_schema_version():
        return "the schema does not belong to this version of the program"
    return None


def _progress(state: IndexState | None) -> RowsToIndex | None:
    """How far an index is made; `None` once searches use it."""
    if state is None or not state.is_far_behind:
        return None
    return RowsToIndex(total=state.newest_id, done=state.indexed_id)


def _check(failure: str | None) -> ReadinessCheck:
    return ReadinessCheck(status="failed" if failure else "ok", detail=failure)
