"""Backups of the whole service."""

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import filters
from strongroom.models import Backup, BackupCreated, BackupList


class Backups(Resource):
    """`client.backups`."""

    @operation("createBackup")
    async def create(self, *, idempotency_key: str | None = None) -> BackupCreated:
        """Copy the whole database, while serving, to a new file in the data directory's folder
        `backups`, and verify the copy. It holds every write acknowledged before this call, but no
        master keys."""
        response = await self._transport.post("/api/backups", idempotency_key=idempotency_key)
        return parsed(BackupCreated, response)

    @operation("listBackups")
    def list(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[Backup, BackupList]:
        """The backups in the data directory's folder `backups`, newest first."""
        return Pages(
            self._transport,
            "/api/backups",
            filters(limit=limit, cursor=cursor),
            BackupList,
            lambda page: page.backups,
        )
