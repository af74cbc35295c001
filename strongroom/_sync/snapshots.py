# Made of strongroom/_async by `make schema`: change it there.
"""Grainchain snapshots of runs."""

from collections.abc import Mapping
from typing import Any, Literal

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.transport import parsed
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import GrainchainSnapshot, SnapshotList, SnapshotStatus


class Snapshots(Resource):
    """`client.snapshots`."""

    @operation("createSnapshot")
    def create(
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
        response = self._transport.post(
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
    def get(
        self, snapshot_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> GrainchainSnapshot:
        """The snapshot."""
        response = self._transport.get(
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
    def update(
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
        response = self._transport.change(
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
