"""The record of who did what."""

from collections.abc import AsyncIterator

from strongroom._answers import model_of
from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._operations import operation
from strongroom._values import filters
from strongroom.models import AuditEntry, AuditList, ExportedAuditEntry


class Audit(Resource):
    """`client.audit`."""

    @operation("listAudit")
    def list(
        self,
        *,
        project_id: int | None = None,
        action: str | None = None,
        actor: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[AuditEntry, AuditList]:
        """The audit, newest first."""
        return Pages(
            self._transport,
            "/api/audit",
            filters(project_id=project_id, action=action, actor=actor, limit=limit, cursor=cursor),
            AuditList,
            lambda page: page.entries,
        )

    @operation("exportAudit")
    async def export(
        self,
        *,
        project_id: int | None = None,
        action: str | None = None,
        actor: str | None = None,
        after_id: int | None = None,
    ) -> AsyncIterator[ExportedAuditEntry]:
        """The audit, oldest first, each entry with its MAC. It is read as it comes. If the
        connection breaks, go on after the `id` of the last entry that you have."""
        query = filters(project_id=project_id, action=action, actor=actor, after_id=after_id)
        async with self._transport.open(
            "/api/audit/export", query, {}, self._transport.options.timeout
        ) as response:
            async for line in response.aiter_lines():
                yield model_of(ExportedAuditEntry, line)
