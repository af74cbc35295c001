"""Pieces of SQL that every engine understands, and repositories that rely on them."""

import pytest

from backend.repositories import Repositories
from backend.repositories.agent_run_repository import Lease
from backend.repositories.audit_reading import AuditReader
from database.connection_manager import DatabaseManager
from database.engine import Value
from database.portable_sql import among, unindexed, with_ids
from models import RunStatus, SnapshotStatus

LEASE = Lease("w", "hash", 60, "2026-01-31T12:00:00.000000Z")


async def found(manager: DatabaseManager, condition: str, *params: Value) -> list[int]:
    rows = await manager.async_pool.fetch_all(
        f"SELECT id FROM projects WHERE {condition} ORDER BY id",  # noqa: S608
        params,
    )
    return [row["id"] for row in rows]


@pytest.fixture
async def projects(repositories: Repositories) -> None:
    for number in range(1, 7):
        await repositories.projects.create(
            {"name": f"P{number}", "github_owner": "o", "github_repo": f"r{number}"}
        )


@pytest.mark.usefixtures("projects")
async def test_conditions_mean_what_they_say(manager: DatabaseManager) -> None:
    for ids in ([], [2], [2, 3, 4], [4, 2, 3], [1, 3], [6, 1], [7]):
        expected = sorted(set(ids) & set(range(1, 7)))
        assert await found(manager, among("id", ids), *ids) == expected
        assert await found(manager, among(unindexed("id"), ids), *ids) == expected
        condition, params = with_ids(ids)
        assert await found(manager, condition, *params) == expected
    assert await found(manager, f"NOT ({among('id', [])})") == list(range(1, 7))
    assert await found(manager, f"{unindexed('name')} >= ?", "P5") == [5, 6]
    plan = await manager.async_pool.fetch_all(
        f"EXPLAIN QUERY PLAN SELECT 1 FROM projects WHERE {unindexed('id')} = 1"  # noqa: S608
    )
    assert plan[0]["detail"].startswith("SCAN")


@pytest.mark.usefixtures("projects")
async def test_nothing_is_among_none(repositories: Repositories, manager: DatabaseManager) -> None:
    run = await repositories.runs.create({"project_id": 1, "run_number": 1, "target_text": "t"})
    snapshot = await repositories.snapshots.create(
        {"agent_run_id": run.id, "snapshot_id": "s", "status": SnapshotStatus.READY}
    )
    change = {"error_message": "e"}
    assert await repositories.snapshots.change_from(snapshot.id, change, sources=()) is None
    assert (
        await repositories.runs.transition(
            run.id,
            RunStatus.PENDING,
            sources=(),
            final=False,
            outcome={},
            lease_expires_at=None,
        )
        is None
    )
    assert await repositories.retention.remove_deliveries([]) == 0
    assert await repositories.retention.remove_finished_runs([]) == 0
    assert await repositories.logs.remove([]) == 0
    assert AuditReader(manager).macs([]) == {}


@pytest.mark.usefixtures("projects")
async def test_a_run_that_is_not_pending_any_more_is_not_claimed(
    repositories: Repositories,
) -> None:
    run = await repositories.runs.create({"project_id": 1, "run_number": 1, "target_text": "t"})
    [claimed] = await repositories.runs.claim({run.id: LEASE})
    assert claimed["status"] == RunStatus.RUNNING
    assert await repositories.runs.claim({run.id: LEASE, 99: LEASE}) == []
    stored = await repositories.runs.get_by_id(run.id)
    assert stored == repositories.runs.model(claimed)
