"""Guarding the rows of an installation of an earlier version, once: each row gets an entry with its
digest. From then on, a row without such an entry was inserted outside the service."""

from collections.abc import Iterable

from backend.crypto.audit_chain import AuditChain
from backend.repositories.audit_reading import AuditReader
from backend.repositories.guarded_kinds import GUARDED_KINDS, PROJECTS, GuardedKind
from backend.repositories.guarded_rows import GuardedRow, RecordedRow
from backend.services.audit.verification import ExportedHead, verify_audit
from backend.services.base import UseCases, unit_of_work
from backend.services.chain_check import AuditProblem
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent
from database.connection_manager import DatabaseManager

_ROWS_PER_STEP = 500
_TARGET = "rows"
_OF_ROWS = (
    Kind.TOKEN_CREATED,
    Kind.PROJECT_CREATED,
    Kind.PROJECT_UPDATED,
    Kind.SETTINGS_UPDATED,
    Kind.SECRET_CREATED,
    Kind.SECRET_UPDATED,
    Kind.WEBHOOK_CREATED,
    Kind.WEBHOOK_UPDATED,
)
"""Kinds that earlier versions recorded without digests. Today such an entry, or a later one of its
transaction, has a digest."""


def guarding_is_due(db_manager: DatabaseManager) -> bool:
    """Whether rows are to be guarded: an earlier version wrote the database, or the guarding was
    interrupted. Raises `DatabaseError`.

    An audit without entries is that of a new database, or was emptied. Then nothing may make its
    rows genuine, even if the service has gone on and recorded the loss, or what happens to runs.
    """
    reader = AuditReader(db_manager)
    state = reader.guarding_state()
    if state.finished_id is not None:
        return False
    if state.started_id is not None:
        return True
    return not state.has_digest and reader.has_any(_OF_ROWS)


def guarding_problem(
    db_manager: DatabaseManager, chain: AuditChain, heads: Iterable[ExportedHead]
) -> AuditProblem | None:
    """The reason why rows can't be guarded: an audit that is not whole, since its entries would
    show which rows were guarded already. `None` without one. Reads the whole audit."""
    problem = verify_audit(db_manager, chain, heads)
    if problem is not None:
        return problem
    reader = AuditReader(db_manager)
    state = reader.guarding_state()
    if state.started_id is None:
        return None
    other = reader.first_other(state.started_id, Kind.ROWS_GUARDED.value)
    if other is None:
        return None
    return AuditProblem(other, f"audit entry {other} follows an unfinished guarding of rows")


class Guarding(UseCases):
    """Guards all rows in steps that can be interrupted. Nothing else may write meanwhile."""

    async def run(self) -> int:
        """Guard all rows that are not guarded yet. Returns their number."""
        await self._begin()
        guarded = 0
        for kind in GUARDED_KINDS:
            after_id: int | None = 0
            while after_id is not None:
                after_id, rows = await self._step(kind, after_id)
                guarded += rows
        await self._finish()
        return guarded

    @unit_of_work
    async def _begin(self) -> None:
        async with self.transaction() as repositories:
            if not await repositories.audit.has(Kind.ROWS_GUARDING_STARTED.value, _TARGET):
                await self.kit.audit.record(
                    repositories, Kind.ROWS_GUARDING_STARTED, target=_TARGET
                )

    @unit_of_work
    async def _step(self, kind: GuardedKind, after_id: int) -> tuple[int | None, int]:
        """Guard the next rows of a kind. Returns the last id, `None` at the end, and the number of
        rows that were guarded."""
        async with self.transaction() as repositories:
            rows = await repositories.guarded_rows.recorded_after(kind, after_id, _ROWS_PER_STEP)
            events = [_guarded(kind, row) for row in rows if row.entry is None]
            await self.kit.audit.record_all(repositories, events)
            return (rows[-1].id if rows else None), len(events)

    @unit_of_work
    async def _finish(self) -> None:
        async with self.transaction() as repositories:
            await self.kit.audit.record(repositories, Kind.ROWS_GUARDING_FINISHED, target=_TARGET)


def _guarded(kind: GuardedKind, row: RecordedRow) -> AuditEvent:
    version = dict(zip(kind.columns, row.values, strict=True)).get("version")
    return AuditEvent(
        Kind.ROWS_GUARDED,
        row.target,
        row.id if kind is PROJECTS else row.project_id,
        version=version if isinstance(version, int) else None,
        row=GuardedRow(kind, row.id),
    )
