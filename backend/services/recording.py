"""Recording changes in the audit, in the transaction of the change itself."""

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.crypto.row_digests import RowDigests
from backend.observability.request_ids import current_client_address, current_request_id
from backend.repositories import Repositories
from backend.repositories.audit_repository import AuditHead, UnnumberedRow
from backend.repositories.guarded_rows import GuardedKind, GuardedRow
from backend.services.chain_end import ChainEnd
from backend.services.kinds import Kind
from backend.services.principal import SYSTEM, current_principal
from database.base import Clock, time_text
from database.engine import Executor


class AuditEvent(NamedTuple):
    """A change: what happened, and its target, `<things>/<id>`."""

    kind: Kind
    target: str
    project_id: int | None = None
    fields: Collection[str] = ()
    """Names of the changed fields, never values."""
    version: int | None = None
    """The version that the target now has; `None` when it has none."""
    address: str | None = None
    """The client's address; `None` for the address of the current request."""
    row: GuardedRow | None = None
    """The guarded row that was created, changed or deleted, which is the target."""


class Recorder:
    """Adds the audit rows of every use case that changes or reveals something."""

    def __init__(
        self, chain: AuditChain, digests: RowDigests, clock: Clock, repositories: Repositories
    ) -> None:
        self.chain = chain
        self._digests = digests
        self.end = ChainEnd()
        self._clock = clock
        self._repositories = repositories

    async def record(
        self,
        repositories: Repositories,
        kind: Kind,
        *,
        target: str,
        project_id: int | None = None,
        fields: Collection[str] = (),
        version: int | None = None,
        row: GuardedRow | None = None,
    ) -> None:
        """Append a row for a change to the transaction of the change.

        The arguments are those of `AuditEvent`. The row names the current principal, request and
        client.
        """
        event = AuditEvent(kind, target, project_id, fields, version, row=row)
        await self.record_all(repositories, [event])

    async def record_all(self, repositories: Repositories, events: Sequence[AuditEvent]) -> None:
        """Append a row for each event, in their order."""
        if not events:
            return
        principal = current_principal()
        name, token_id = principal.name, principal.token_id
        at = repositories.executor.time(self._read_clock)
        request_id = current_request_id()
        # What the service does itself, no client did, even if its request was the occasion.
        address = current_client_address() if principal is not SYSTEM else None
        await repositories.audit.append(
            [
                UnnumberedRow(
                    at,
                    name,
                    token_id,
                    # Not `value`, which a descriptor computes.
                    kind._value_,
                    target,
                    project_id,
                    _names(fields if type(fields) is tuple else tuple(fields)),
                    request_id,
                    version,
                    client or address,
                    row,
                )
                for kind, target, project_id, fields, version, client, row in events
            ]
        )

    def _read_clock(self) -> str:
        return time_text(self._clock())

    async def write(self, executor: Executor, rows: Sequence[UnnumberedRow]) -> None:
        """Store the rows of a batch at the end of the chain. Called by the engine before the
        COMMIT."""
        repositories = self._repositories.using(executor)
        # Read each time, because other connections may write to the table between two batches.
        head = await repositories.audit.head()
        if self.end.is_cut(head):
            rows = self.end.with_loss(rows, head, time_text(self._clock()))
        last_id, mac = head if head is not None else (0, ORIGIN)
        digests = await self._row_digests(repositories, rows, last_id + 1)
        stored = []
        next_mac = self.chain.mac
        for id, columns in enumerate(rows, last_id + 1):
            row = (id, *columns[:9], digests.get(id), columns[9])
            mac = next_mac(mac, row)
            stored.append((*row, mac))
        await repositories.audit.insert(stored)
        self.end.written(AuditHead(last_id + len(stored), mac), rows)

    async def _row_digests(
        self, repositories: Repositories, rows: Sequence[UnnumberedRow], first_id: int
    ) -> dict[int, str]:
        """The digests of the guarded rows that the batch leaves, by the id of the last entry of
        each target."""
        last = {
            entry.target: (entry_id, entry.version, entry.row)
            for entry_id, entry in enumerate(rows, first_id)
            if entry.row is not None
        }
        unknown: dict[GuardedKind, list[int]] = {}
        for _, _, row in last.values():
            if row.values is None and row.id is not None:
                unknown.setdefault(row.kind, []).append(row.id)
        read = {
            kind: await repositories.guarded_rows.values(kind, row_ids)
            for kind, row_ids in unknown.items()
        }
        digest = self._digests.of
        return {
            entry_id: digest(
                row.kind.table,
                entry_id,
                target,
                version,
                read[row.kind].get(row.id)
                if row.values is None and row.id is not None
                else row.values,
            )
            for target, (entry_id, version, row) in last.items()
        }


@lru_cache(maxsize=1024)
def _names(fields: tuple[str, ...]) -> str:
    # Cached because the same few lists recur and every write waits for this.
    return json.dumps(sorted(fields), separators=(",", ":"))
