"""Whether requests can be served, and if not, why."""

from backend.repositories.schema_version import newest_schema_version, schema_version
from backend.services.base import ServiceBase
from database.errors import DatabaseError
from models import Readiness, ReadinessCheck, ReadinessChecks

_QUEUE_SHARE = 0.9
"""A writer's queue this full is about to refuse work."""


class ReadinessUseCases(ServiceBase):
    """The checks of `/ready`."""

    async def readiness(self) -> Readiness:
        """Every check with its result; never raises a `DatabaseError`."""
        health = await self.db_manager.health_check()
        checks = ReadinessChecks(
            database=_check(None if health["healthy"] else "reading or writing fails"),
            migrations=_check(await self._migrations()),
            keys=_check(await self._keys()),
            writer_queue=_check(self._writer_queue()),
        )
        ok = all(check.status == "ok" for _, check in checks)
        return Readiness(status="ready" if ok else "not_ready", checks=checks)

    async def _migrations(self) -> str | None:
        try:
            version = await schema_version(self.db_manager.async_pool)
        except DatabaseError:
            return "the schema's version can't be read"
        if version != newest_schema_version():
            return "the schema is not this version's"
        return None

    async def _keys(self) -> str | None:
        try:
            canaries = await self.repositories.keys.canaries()
            used = await self.repositories.keys.master_key_usage()
        except DatabaseError:
            return "the keys' records can't be read"
        bad = [id for id in used if not self.vault.check_canary(id, canaries.get(id, ""))]
        return f"these master keys don't fit: {', '.join(bad)}" if bad else None

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


def _check(failure: str | None) -> ReadinessCheck:
    return ReadinessCheck(status="failed" if failure else "ok", detail=failure)
