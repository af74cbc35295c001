"""Grainchain snapshots of runs."""

from collections.abc import Mapping
from typing import Any, Literal

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import GrainchainSnapshot, SnapshotList, SnapshotStatus


class Snapshots(Resource):
    """`client.snapshots`."""

    @operation("createSnapshot")
    async def create(
        self,
        run_id: int,
        *,
        snapshot_id: str,
        config: Mapping[str, Any] | Unset = UNSET,
        error_message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        status: Literal["creating", "ready", "running", "completed", "failed"] | Unset = UNSET,
        validation_results: Mapping[str, Any] | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> GrainchainSnapshot:
        """Record a snapshot."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/snapshots",
            fields(
                snapshot_id=snapshot_id,
                config=config,
                error_message=error_message,
                lease_token=lease_token,
                status=status,
                validation_results=validation_results,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(GrainchainSnapshot, response)

    @operation("getSnapshot")
    async def get(
        self, snapshot_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> GrainchainSnapshot:
        """The snapshot."""
        response = await self._transport.get(
            f"/api/snapshots/{snapshot_id}", if_none_match=if_none_match, wait=wait
        )
        return parsed(GrainchainSnapshot, response)

    @operation("listSnapshots")
    def list(
        self, run_id: int, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[GrainchainSnapshot, SnapshotList]:
        """The run's snapshots, newest first."""
        return Pages(
            self._transport,
            f"/api/agent-runs/{run_id}/snapshots",
            filters(limit=limit, cursor=cursor),
            SnapshotList,
            lambda page: page.snapshots,
        )

    @operation("patchSnapshot")
    async def update(
        self,
        snapshot_id: int,
        *,
        config: Mapping[str, Any] | Unset = UNSET,
        error_message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        status: SnapshotStatus | Unset = UNSET,
        validation_results: Mapping[str, Any] | Unset | None = UNSET,
        if_match: int | str | None = None,
    ) -> GrainchainSnapshot:
        """Change the given fields; a status can change only along the life cycle."""
        response = await self._transport.change(
            "PATCH",
            f"/api/snapshots/{snapshot_id}",
            fields(
                config=config,
                error_message=error_message,
                lease_token=lease_token,
                status=status,
                validation_results=validation_results,
            ),
            if_match=if_match,
        )
        return parsed(GrainchainSnapshot, response)
