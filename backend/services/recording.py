"""Recording changes in the audit, in the transaction of the change itself."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.crypto.row_digests import Change, RowDigests
from backend.observability.request_ids import current_client_address, current_request_id
from backend.repositories import Repositories
from backend.repositories.audit_repository import AuditHead, UnnumberedRow
from backend.repositories.guarded_kinds import GuardedKind
from backend.repositories.guarded_rows import GuardedRow, signed_values
from backend.services.chain_end import ChainEnd
from backend.services.committed_rows import CommittedRows, LeftRow
from backend.services.kinds import Kind
from backend.services.principal import SYSTEM, current_principal
from database.base import Clock, time_text
from database.engine import Call, Executor, Value


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


concerned_projects: ContextVar[set[int] | None] = ContextVar("strongroom_concerned", default=None)
"""Collects the projects of what is changed, if it is set."""


class Recorder:
    """Adds the audit rows of every use case that changes or reveals something."""

    def __init__(
        self, chain: AuditChain, digests: RowDigests, clock: Clock, repositories: Repositories
    ) -> None:
        self.chain = chain
        self._digests = digests
        self.end = ChainEnd()
        self.rows = CommittedRows()
        self.heard: tuple[Callable[[Sequence[tuple[Any, ...]]], None], ...] = ()
        """Called on the writer's thread with the columns of `AuditRow` of each entry of a commit,
        once it is durable; none while no client follows the record or waits for it."""
        self.on_commit: Callable[[Sequence[LeftRow], Sequence[tuple[Any, ...]]], None] | None = None
        """Called on the writer's thread with the guarded rows that a commit has changed, and the
        same columns as `heard`."""
        self._numbered_rows: Sequence[tuple[Any, ...]] = ()
        self._written: list[LeftRow] = []
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
        if events:
            at = self.time(repositories)
            await repositories.audit.append(_rows(events, at))

    async def record_calls(
        self, repositories: Repositories, calls: Iterable[tuple[Call, Sequence[AuditEvent]]]
    ) -> None:
        """The same for units that run as one, each with its events."""
        at = self.time(repositories)
        for call, events in calls:
            await repositories.audit.append(call.context.run(_rows, events, at))

    async def record_alike(
        self,
        repositories: Repositories,
        kind: Kind,
        project_id: int,
        fields: tuple[str, ...],
        changes: Iterable[tuple[str, int, GuardedRow]],
        call: Call | None = None,
    ) -> None:
        """Append a row for each of many changes of one kind: its target, version and guarded
        row. Among units that run as one, `call` is the one that has made them."""
        at = self.time(repositories)
        name, token_id, request_id, address = (
            _circumstances_in(project_id)
            if call is None
            else call.context.run(_circumstances_in, project_id)
        )
        action, names = kind._value_, field_names(fields)
        # Not by calling the class, which takes twice as long.
        new = tuple.__new__
        await repositories.audit.append(
            [
                new(
                    UnnumberedRow,
                    (
                        at,
                        name,
                        token_id,
                        action,
                        target,
                        project_id,
                        names,
                        request_id,
                        version,
                        address,
                        row,
                    ),
                )
                for target, version, row in changes
            ]
        )

    def time(self, repositories: Repositories) -> str:
        """The time of the entries of the transaction."""
        return repositories.executor.time(self.now)

    def now(self) -> str:
        """The time of the clock."""
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
        numbered = await self._numbered(repositories, rows, last_id + 1)
        self._numbered_rows = numbered
        macs = self.chain.macs(mac, numbered)
        await repositories.audit.insert(
            [(*columns, mac) for columns, mac in zip(numbered, macs, strict=True)]
        )
        await repositories.guarded_rows.set_newest(
            [(columns[5], columns[0]) for columns in numbered if columns[10] is not None]
        )
        self.end.written(AuditHead(last_id + len(rows), macs[-1]), rows)

    def follow(self) -> None:
        """The transaction whose rows `write` has stored is durable. Called by the engine."""
        self.rows.follow(self._written)
        if self.on_commit is not None:
            self.on_commit(self._written, self._numbered_rows)
        for heard in self.heard:
            heard(self._numbered_rows)
        self.end.follow()

    async def _numbered(
        self, repositories: Repositories, rows: Sequence[UnnumberedRow], first_id: int
    ) -> list[tuple[Any, ...]]:
        """The columns of `AuditRow` of these rows. The last row of each target has the digest of
        the guarded row that the transaction leaves."""
        read = await _unknown_values(repositories, rows)
        last = {row[4]: id for id, row in enumerate(rows, first_id) if row[10] is not None}
        self._written = left = []
        changes: list[Change] = []
        for id, row in enumerate(rows, first_id):
            guarded, target = row[10], row[4]
            if guarded is not None and last[target] == id:
                kind, row_id, values = guarded
                if values is None and row_id is not None:
                    values = read[kind].get(row_id)
                signed = values if values is None else signed_values(kind, values)
                changes.append((kind.table, id, target, row[8], signed))
                left.append((kind, target, values))
        digests = {
            change[1]: digest
            for change, digest in zip(changes, self._digests.of_each(changes), strict=True)
        }
        find = digests.get
        # In the order of the columns of `AuditRow`.
        return [(id, *row[:9], find(id), row[9]) for id, row in enumerate(rows, first_id)]


async def _unknown_values(
    repositories: Repositories, rows: Sequence[UnnumberedRow]
) -> dict[GuardedKind, dict[int, tuple[Value, ...]]]:
    """The values of the guarded rows that are not known yet, as they are stored."""
    unknown: dict[GuardedKind, set[int]] = {}
    for entry in rows:
        row = entry[10]
        if row is not None and row[2] is None and row[1] is not None:
            unknown.setdefault(row[0], set()).add(row[1])
    return {
        kind: await repositories.guarded_rows.values(kind, list(ids))
        for kind, ids in unknown.items()
    }


def _rows(events: Sequence[AuditEvent], at: str) -> list[UnnumberedRow]:
    """The rows of these events, which name the current principal, request and client."""
    name, token_id, request_id, address = _circumstances()
    note_concerned(event.project_id for event in events)
    return [
        UnnumberedRow(
            at,
            name,
            token_id,
            # Not `value`, which a descriptor computes.
            kind._value_,
            target,
            project_id,
            field_names(fields if type(fields) is tuple else tuple(fields)),
            request_id,
            version,
            client or address,
            row,
        )
        for kind, target, project_id, fields, version, client, row in events
    ]


def _circumstances() -> tuple[str, int | None, str | None, str | None]:
    """The actor's name and token, the request, and the client's address."""
    principal = current_principal()
    # What the service does itself, no client did, even if its request was the occasion.
    address = current_client_address() if principal is not SYSTEM else None
    return principal.name, principal.token_id, current_request_id(), address


def _circumstances_in(project_id: int) -> tuple[str, int | None, str | None, str | None]:
    """The same for events of a project."""
    note_concerned((project_id,))
    return _circumstances()


def note_concerned(project_ids: Iterable[int | None]) -> None:
    """Note the projects of what the current request changes, for its stored answer if it has an
    idempotency key. What is recorded is noted already."""
    concerned = concerned_projects.get()
    if concerned is not None:
        concerned.update(id for id in project_ids if id is not None)


@lru_cache(maxsize=1024)
def field_names(fields: tuple[str, ...]) -> str:
    """The stored form of the names of changed fields: a sorted JSON list."""
    # Cached because the same few lists recur and every write waits for this.
    return json.dumps(sorted(fields), separators=(",", ":"))
