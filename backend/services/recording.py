"""Recording changes in the audit, in the transaction of the change itself."""

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.observability.request_ids import current_request_id
from backend.repositories import Repositories
from backend.repositories.audit_repository import AuditRow, StoredAuditRow
from backend.services.principal import current_principal
from database.base import Clock, time_text


class AuditEvent(NamedTuple):
    """A change: its action, `<thing>.<verb in past tense>`, and its target, `<things>/<id>`."""

    action: str
    target: str
    project_id: int | None = None
    fields: Collection[str] = ()
    """Names of the changed fields, never values."""


class Recorder:
    """Adds the audit rows of every use case that changes or reveals something."""

    def __init__(self, chain: AuditChain, clock: Clock) -> None:
        self.chain = chain
        self._clock = clock

    async def record(
        self,
        repositories: Repositories,
        action: str,
        *,
        target: str,
        project_id: int | None = None,
        fields: Collection[str] = (),
    ) -> None:
        """Add a row to the audit, inside the transaction of the change.

        The arguments are those of `AuditEvent`. The row names the current principal and request.
        """
        await self.record_all(repositories, [AuditEvent(action, target, project_id, fields)])

    async def record_all(self, repositories: Repositories, events: Sequence[AuditEvent]) -> None:
        """Add a row for each event, in their order."""
        if not events:
            return
        head = await repositories.audit.head()
        last_id, mac = head if head is not None else (0, ORIGIN)
        principal = current_principal()
        at = time_text(self._clock())
        request_id = current_request_id()
        rows = []
        for id, (action, target, project_id, fields) in enumerate(events, last_id + 1):
            row = AuditRow(
                id,
                at,
                principal.name,
                principal.token_id,
                action,
                target,
                project_id,
                _names(tuple(fields)),
                request_id,
            )
            mac = self.chain.mac(mac, row)
            rows.append(StoredAuditRow(row, mac))
        await repositories.audit.append(rows)


@lru_cache(maxsize=1024)
def _names(fields: tuple[str, ...]) -> str:
    # Cached because the same few lists recur and every write waits for this.
    return json.dumps(sorted(fields), separators=(",", ":"))
