"""Removing old entries of the audit, oldest first, without breaking its chain.

The anchor moves past them, and stands for them from then on. Of each target, the newest entry with
a digest stays, because guarded rows are compared with it. What is passed is checked first:
otherwise a removal would also remove the traces of a change behind the service's back.
"""

import sys
from collections.abc import Iterator, Sequence

from backend.crypto.audit_chain import ORIGIN
from backend.repositories import Repositories
from backend.repositories.audit_repository import AuditAnchor, LinkedAuditRow
from backend.repositories.audit_retention_repository import KEPT_ACTIONS
from backend.repositories.retention_repository import Extent
from backend.services.base import UseCases, unit_of_work
from backend.services.chain_check import AuditProblem, ChainCheck
from database.errors import DatabaseError

_COUNTED = 10_000
"""How many entries are counted in one read."""
_LOOKED_AT = 1000
"""How many of the entries that stayed are looked at in one step."""


class AuditDamaged(DatabaseError):
    """The next old entry is not as it was written, or missing, so none is removed any more."""


class AuditRetention(UseCases):
    """Counting and removing old entries of the audit."""

    async def extent(self, before: str | None) -> Extent:
        """The extent of what a removal of the entries before this time would remove. They are
        counted in many small reads."""
        if before is None:
            return Extent(0, 0.0)
        rows = 0
        after: int | None = 0
        while after is not None:
            count, after = await self._count_some(after, before)
            rows += count
        return Extent(rows, await self.repositories.audit_retention.size() if rows else 0.0)

    @unit_of_work(read_only=True)
    async def _count_some(self, after_id: int, before: str) -> tuple[int, int | None]:
        """The number of removable entries among the next ones after `after_id`, and the id of the
        last of these; `None` at the end."""
        async with self.transaction() as repositories:
            data = repositories.audit_retention
            anchor = await repositories.audit.anchor()
            head = await repositories.audit.head()
            end = await data.end_of_page(after_id, _COUNTED)
            # The newest entry always stays.
            last_id = min(end or sys.maxsize, head.id - 1 if head is not None else 0)
            passed = max(after_id, anchor.last_id if anchor is not None else 0)
            if last_id > passed:
                old = await data.end_of_old(passed, last_id, before)
                end = end if old == last_id else None
                last_id = old
            return await data.count_between(after_id, last_id), end

    @unit_of_work
    async def pass_old(self, before: str, limit: int) -> int | None:
        """Move the anchor past at most `limit` entries before this time, up to the first that is
        not, and remove those that need not stay. Returns how many were removed; 0 when the anchor
        can't move, `None` when it moved and all stayed.

        Raises `AuditDamaged`.
        """
        async with self.transaction() as repositories:
            anchor = await repositories.audit.anchor()
            passed = await self._old(repositories, anchor, before, limit)
            if not passed:
                return 0
            kept = await self._staying(repositories, passed)
            data = repositories.audit_retention
            await data.set_previous_macs(
                [
                    (before_it, linked.row.id)
                    for before_it, linked in zip(
                        _previous_macs(anchor, passed), passed, strict=True
                    )
                    if linked.row.id in kept
                ]
            )
            last_id = passed[-1].row.id
            removed = await data.remove_between(passed[0].row.id, last_id)
            chain = self.kit.audit.chain
            shares = sum(chain.share(linked.mac) for linked in passed if linked.row.id in kept)
            count = len(kept)
            if anchor is not None:
                shares += chain.shares(anchor)
                count += anchor.kept
            await data.set_anchor(chain.anchor(last_id, passed[-1].mac, count, shares))
            return removed or None

    async def _old(
        self, repositories: Repositories, anchor: AuditAnchor | None, before: str, limit: int
    ) -> list[LinkedAuditRow]:
        """The entries that the anchor may pass now. Raises `AuditDamaged`."""
        check = ChainCheck(self.kit.audit.chain)
        if anchor is not None:
            check.begin_at(anchor)
        # One more, because the newest entry always stays.
        rows = await repositories.audit_retention.after(check.last_id, limit + 1)
        old: list[LinkedAuditRow] = []
        for linked in rows[:-1]:
            _require(check.problem(linked))
            if linked.row.at >= before:
                break
            old.append(linked)
        return old

    async def _staying(
        self, repositories: Repositories, passed: Sequence[LinkedAuditRow]
    ) -> set[int]:
        """The ids of the passed entries that stay. Raises `AuditDamaged`."""
        kept = {linked.row.id for linked in passed if linked.row.action in KEPT_ACTIONS}
        with_digest = [linked.row.id for linked in passed if linked.row.digest is not None]
        newest = await self._newest(repositories, with_digest) if with_digest else set()
        return kept | newest.intersection(with_digest)

    async def _newest(self, repositories: Repositories, ids: Sequence[int]) -> set[int]:
        """The ids of the newest entries with digests of the targets of these entries. Raises
        `AuditDamaged` for one that is not genuine: a forged one must not supersede others."""
        newest = await repositories.audit_retention.newest_with_digest(ids)
        check = ChainCheck(self.kit.audit.chain)
        for linked in newest:
            is_first = linked.row.id == 1
            _require(
                check.link_problem(linked._replace(previous_mac=ORIGIN) if is_first else linked)
            )
        return {linked.row.id for linked in newest}

    @unit_of_work(read_only=True)
    async def superseded(self, after_id: int) -> tuple[list[int], int | None]:
        """See `AuditRetentionRepository.superseded`."""
        async with self.transaction() as repositories:
            anchor = await repositories.audit.anchor()
            if anchor is None:
                return [], None
            return await repositories.audit_retention.superseded(
                after_id, anchor.last_id, _LOOKED_AT
            )

    @unit_of_work
    async def remove_superseded(self, ids: Sequence[int]) -> int:
        """Remove those of these entries, which had stayed, that have a newer one. Returns their
        number. Raises `AuditDamaged`."""
        async with self.transaction() as repositories:
            anchor = await repositories.audit.anchor()
            newest = await self._newest(repositories, ids)
            data = repositories.audit_retention
            check = ChainCheck(self.kit.audit.chain)
            going = [one for one in await data.linked(ids) if one.row.id not in newest]
            for linked in going:
                _require(check.link_problem(linked))
            if anchor is None or not going:
                return 0
            await data.remove([linked.row.id for linked in going])
            chain = self.kit.audit.chain
            shares = chain.shares(anchor) - sum(chain.share(linked.mac) for linked in going)
            kept = max(0, anchor.kept - len(going))
            await data.set_anchor(chain.anchor(anchor.last_id, anchor.last_mac, kept, shares))
            return len(going)


def _previous_macs(anchor: AuditAnchor | None, passed: Sequence[LinkedAuditRow]) -> Iterator[str]:
    yield anchor.last_mac if anchor is not None else ORIGIN
    yield from (linked.mac for linked in passed[:-1])


def _require(problem: AuditProblem | None) -> None:
    if problem is not None:
        raise AuditDamaged(
            f"{problem}: no old entry is removed; find out what happened with strongroom verify"
        )


class SupersededEntries:
    """Removes the entries that had stayed and whose target has a newer one by now."""

    def __init__(self, retention: AuditRetention) -> None:
        self._retention = retention
        self._after: int | None = 0
        """The id of the last entry that was looked at; `None` at the end."""
        self._found: list[int] = []

    async def remove(self, limit: int) -> int | None:
        """Remove at most `limit` entries. Returns how many were removed; 0 at the end, `None` when
        there may be more."""
        if not self._found and self._after is not None:
            self._found, self._after = await self._retention.superseded(self._after)
        if not self._found:
            return 0 if self._after is None else None
        removed = await self._retention.remove_superseded(self._found[:limit])
        self._found = self._found[limit:]
        return removed or None
