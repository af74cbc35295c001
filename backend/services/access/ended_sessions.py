"""Removing the rows of sessions that have ended."""

from collections.abc import Sequence

from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SESSIONS
from backend.repositories.guarded_rows import GuardedRow
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent, Recorder


def target_of(session_id: int) -> str:
    """The target of a session's entries in the record."""
    return f"sessions/{session_id}"


async def remove_sessions(
    audit: Recorder, repositories: Repositories, ids: Sequence[int], kind: Kind
) -> None:
    """Delete these sessions, which exist, with an entry for each."""
    await repositories.sessions.remove(ids)
    events = [AuditEvent(kind, target_of(id), row=GuardedRow(SESSIONS, None)) for id in ids]
    await audit.record_all(repositories, events)
