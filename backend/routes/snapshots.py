"""Grainchain snapshots over HTTP."""

from typing import Annotated

from fastapi import Path, Response, status

from backend.dependencies import Cursor, GuardedRouter, Id, Limit, RunId, Service, problems
from backend.http.route_policy import reads, writes
from backend.schemas.snapshots import SnapshotCreate, SnapshotList, SnapshotUpdate
from models import GrainchainSnapshot, Scope

router = GuardedRouter(
    tag="snapshots",
    about="Grainchain snapshots of runs.",
    policies={
        ("GET", "/api/agent-runs/{run_id}/snapshots"): reads(Scope.RUNS_READ),
        ("POST", "/api/agent-runs/{run_id}/snapshots"): writes(Scope.RUNS_WRITE),
        ("GET", "/api/snapshots/{snapshot_id}"): reads(Scope.RUNS_READ),
        ("PATCH", "/api/snapshots/{snapshot_id}"): writes(Scope.RUNS_WRITE),
    },
)

SnapshotId = Annotated[Id, Path(description="The snapshot's id in Strongroom.", examples=[1])]


@router.get(
    "/api/agent-runs/{run_id}/snapshots", responses=problems("agent_run_not_found", "bad_cursor")
)
async def list_snapshots(
    run_id: RunId, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> SnapshotList:
    """One page of the run's snapshots, newest first."""
    return await service.snapshots.page(run_id, limit=limit, cursor=cursor)


@router.post(
    "/api/agent-runs/{run_id}/snapshots",
    status_code=status.HTTP_201_CREATED,
    responses=problems(
        "agent_run_not_found", "project_not_found", "lease_lost", "snapshot_exists", body=True
    ),
)
async def create_snapshot(
    run_id: RunId, snapshot: SnapshotCreate, service: Service, response: Response
) -> GrainchainSnapshot:
    """Record a snapshot."""
    created = await service.snapshots.create(run_id, snapshot)
    response.headers["Location"] = f"/api/snapshots/{created.id}"
    return created


@router.get("/api/snapshots/{snapshot_id}", responses=problems("snapshot_not_found"))
async def get_snapshot(snapshot_id: SnapshotId, service: Service) -> GrainchainSnapshot:
    """The snapshot."""
    return await service.snapshots.get(snapshot_id)


@router.patch(
    "/api/snapshots/{snapshot_id}",
    responses=problems(
        "snapshot_not_found", "project_not_found", "lease_lost", "invalid_transition", body=True
    ),
)
async def patch_snapshot(
    snapshot_id: SnapshotId, update: SnapshotUpdate, service: Service
) -> GrainchainSnapshot:
    """Change the given fields; a status can change only along the life cycle."""
    return await service.snapshots.update(snapshot_id, update)
