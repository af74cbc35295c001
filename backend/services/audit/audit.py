"""Reading the audit, and comparing it with its exported heads."""

import json
from collections.abc import AsyncIterator

from backend.crypto.audit_chain import AuditChain
from backend.repositories.audit_repository import (
    AuditFilter,
    AuditHead,
    AuditRow,
    LinkedAuditRow,
)
from backend.schemas.audit import AuditEntry, AuditList, ExportedAuditEntry
from backend.services.audit.verification import ExportedHead, tail_problem
from backend.services.base import UseCases, unit_of_work
from backend.services.chain_check import AuditProblem
from backend.services.chain_end import ChainEnd, loss_target
from backend.services.kinds import Kind
from backend.services.principal import Principal, current_principal

_EXPORT_ROWS = 500


class Audit(UseCases):
    """Lists, exports and heads of the audit."""

    @property
    def chain(self) -> AuditChain:
        """The chain that computes the MACs of entries."""
        return self.kit.audit.chain

    @property
    def end(self) -> ChainEnd:
        """The end of the chain as this process committed it."""
        return self.kit.audit.end

    async def page(
        self,
        *,
        project_id: int | None = None,
        action: str | None = None,
        actor: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> AuditList:
        """One page of the audit, newest first, filtered by project, action and the actor's name.
        Raises `BadCursor`."""
        filter = AuditFilter(project_id, action, actor, current_principal().visible_ids)
        bound = (project_id, action, actor, filter.visible)
        listing = self.kit.listing("audit", *bound, cursor=cursor)
        page = await self.repositories.audit.page(filter, limit=limit, after=listing.after)
        return listing.answer(AuditList, page, entries=[_entry(row) for row in page.items])

    def export(
        self,
        *,
        project_id: int | None = None,
        action: str | None = None,
        actor: str | None = None,
        after_id: int = 0,
    ) -> AsyncIterator[bytes]:
        """The audit after the entry `after_id` as JSON lines, oldest first, each with its MAC. It
        has the entries that the caller may see when this is called. It raises `Unauthenticated`
        if the caller's token ends before the last line."""
        principal = current_principal()
        filter = AuditFilter(project_id, action, actor, principal.visible_ids)
        return self._audit_lines(principal, filter, after_id)

    async def _audit_lines(
        self, principal: Principal, filter: AuditFilter, after_id: int
    ) -> AsyncIterator[bytes]:
        # Small reads, so that no snapshot prevents the truncation of the write-ahead log.
        while rows := await self.repositories.audit.following(filter, after_id, _EXPORT_ROWS):
            # Checked after the read, because the read may have waited.
            await self.kit.gate.require_valid(principal)
            yield b"".join([_exported(linked) for linked in rows])
            after_id = rows[-1].row.id

    async def head(self) -> AuditHead | None:
        """The newest entry that is durable, or `None` before the first one."""
        return await self.repositories.audit.head()

    async def count(self) -> int:
        """The number of entries, without counting them: no entry between two others is missing,
        apart from those that were removed for their age."""
        head = await self.repositories.audit.head()
        anchor = await self.repositories.audit.anchor()
        passed = anchor.last_id - anchor.kept if anchor is not None else 0
        return head.id - passed if head is not None else 0

    async def find_loss(self, newest: ExportedHead) -> AuditProblem | None:
        """The first problem of the audit up to `newest`, the newest exported head; `None` when it
        is complete. A problem is recorded in the audit, once for each head."""
        head = await self.repositories.audit.head()
        found = await self.repositories.audit.mac_of(newest.id)
        anchor = await self.repositories.audit.anchor()
        problem = tail_problem(newest, found, head.id if head is not None else 0, anchor)
        if problem is not None:
            await self._record_loss(loss_target(newest.id))
        return problem

    async def look_at_end(self) -> None:
        """Find out, without a write, whether another program has cut or changed the end of the
        audit. A loss is recorded as one that a write finds. The first call only takes the present
        end as the right one."""
        known = self.end.committed
        head = await self.repositories.audit.head()
        self.end.begin(head)
        # If the end has moved on, writes are looking.
        if self.end.committed is known and self.end.is_cut(head):
            await self._record_cut()

    @unit_of_work
    async def _record_cut(self) -> None:
        """Record the loss unless the entry that differed was committed in the meantime."""
        async with self.transaction() as repositories:
            known = self.end.committed
            if known is not None and self.end.is_cut(await repositories.audit.head()):
                target = loss_target(known.id)
                await self.kit.audit.record(repositories, Kind.AUDIT_LOSS_FOUND, target=target)

    @unit_of_work
    async def _record_loss(self, target: str) -> None:
        async with self.transaction() as repositories:
            if not await repositories.audit.has(Kind.AUDIT_LOSS_FOUND.value, target):
                await self.kit.audit.record(repositories, Kind.AUDIT_LOSS_FOUND, target=target)


def _entry(row: AuditRow) -> AuditEntry:
    columns = {**row._asdict(), "fields": _names(row.fields)}
    del columns["digest"]
    # Not validated, so that an entry that was damaged in the file does not hide the others.
    return AuditEntry.model_construct(**columns)


def _names(fields: str) -> list[str]:
    try:
        names = json.loads(fields)
    except (ValueError, RecursionError):
        return []
    is_list = isinstance(names, list) and all(type(name) is str for name in names)
    return names if is_list else []


def _exported(linked: LinkedAuditRow) -> bytes:
    columns = {**linked.row._asdict(), "fields": _names(linked.row.fields)}
    entry = ExportedAuditEntry.model_construct(
        **columns, mac=linked.mac, previous_mac=linked.previous_mac
    )
    return entry.model_dump_json().encode() + b"\n"
