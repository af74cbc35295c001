"""Entries of the audit of different ages, some with digests as guarded rows have them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from backend.repositories.audit_repository import UnnumberedRow
from backend.repositories.guarded_kinds import PROJECTS
from backend.repositories.guarded_rows import GuardedRow
from backend.schemas.retention import Removed
from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from backend.services.operations.pruner import Pruner
from database.base import time_text
from database.connection_manager import DatabaseManager
from tests.retention.data import limits


def entry(
    at: str, target: str, *, guarded: bool = False, action: str = "test.done"
) -> UnnumberedRow:
    """An entry. One about a guarded row gets a digest: a tombstone, since there is no such row."""
    row = GuardedRow(PROJECTS, 0) if guarded else None
    return UnnumberedRow(
        at, "deploy", 2, action, target, 1, '["name"]', "a-request", 7, "192.0.2.1", row
    )


async def add(service: DatabaseService, *targets: str, action: str = "test.done") -> None:
    """Append an entry for each target, at the clock's time. One whose target ends with `!` has a
    digest."""
    at = time_text(service.clock())
    rows = [
        entry(at, name.rstrip("!"), guarded=name.endswith("!"), action=action) for name in targets
    ]
    async with service.transaction() as repositories:
        await repositories.audit.append(rows)


async def prune(service: DatabaseService, days: int = 30) -> Removed:
    """Remove the entries that are older."""
    removal = Pruner(service.retention, limits(audit=(days, None)), considerate=False)
    return await removal.start()


def problem(service: DatabaseService) -> str | None:
    """What verification finds."""
    found = verify_audit(service.db_manager, service.audit.chain)
    return None if found is None else str(found)


def ids(manager: DatabaseManager) -> list[int]:
    """The ids of all entries."""
    return [row["id"] for row in manager.execute_query("SELECT id FROM audit_entries ORDER BY id")]


def damage(path: Path, statements: Sequence[str]) -> None:
    """Change the file behind the service's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
