"""What units that create or change projects leave."""

from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from tests.guard.replay import faults_of


async def contents(service: DatabaseService) -> list[dict[str, object]]:
    """All rows that creates leave, without what differs from time to time."""
    executor = service.repositories.executor
    different = {"created_at", "updated_at", "at", "mac", "digest", "wrapped", "ciphertext"}
    found: list[dict[str, object]] = []
    for table in ("projects", "project_settings", "project_keys", "project_secrets"):
        rows = await executor.fetch_all(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608
        found += [{"table": table} | dict(row) for row in rows]
    found += map(
        dict,
        await executor.fetch_all(
            "SELECT * FROM audit_entries WHERE project_id IS NOT NULL ORDER BY id"
        ),
    )
    return [{k: v for k, v in row.items() if k not in different} for row in found]


def assert_recorded(service: DatabaseService) -> None:
    """The record is whole, and tells of all guarded rows."""
    manager = service.db_manager
    assert verify_audit(manager, service.kit.audit.chain) is None
    assert faults_of(service) == []
