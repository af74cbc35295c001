"""Grainchain snapshots of runs."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from backend.errors import SnapshotExists
from backend.repositories.paging import (
    Page,
    Position,
    Query,
    fetch_page,
    is_one_of,
    json_members,
)
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from database.errors import UniqueViolation
from models import GrainchainSnapshot, SnapshotStatus


class GrainchainSnapshotRepository(BaseRepository[GrainchainSnapshot]):
    """The table `grainchain_snapshots`."""

    writable = frozenset(
        {
            "agent_run_id",
            "snapshot_id",
            "status",
            "config",
            "validation_results",
            "error_message",
            "destroyed_at",
        }
    )
    defaults = MappingProxyType(
        {
            "status": "creating",
            "config": "{}",
            "validation_results": None,
            "error_message": None,
            "destroyed_at": None,
            "version": 1,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(GrainchainSnapshot, "grainchain_snapshots", db_manager, clock=clock)

    async def create(self, data: Mapping[str, Any]) -> GrainchainSnapshot:
        """Insert a snapshot. Raises `SnapshotExists` when the run has one with its
        `snapshot_id`."""
        try:
            return await super().create(data)
        except UniqueViolation:
            row = await self.db.fetch_one(
                "SELECT id FROM grainchain_snapshots WHERE agent_run_id = ? AND snapshot_id = ?",
                (data["agent_run_id"], data["snapshot_id"]),
            )
            raise SnapshotExists(row["id"] if row is not None else None) from None

    async def change_from(
        self,
        id: int,
        data: Mapping[str, Any],
        *,
        sources: Collection[SnapshotStatus],
        expected: int | None = None,
    ) -> GrainchainSnapshot | None:
        """Set the columns in `data` if the status is one of `sources` and the version `expected`.
        Returns the changed snapshot, or `None` when it has another status or version, or does not
        exist."""
        now = self.now()
        computed = {"updated_at": now}
        if data.get("status") is SnapshotStatus.DESTROYED:
            computed["destroyed_at"] = now
        where = is_one_of("status", sources)
        return await self.change(id, data, expected=expected, where=where, computed=computed)

    async def page(
        self, run_id: int, *, limit: int, after: Position | None
    ) -> Page[GrainchainSnapshot]:
        """Up to `limit` snapshots of a run, newest first, after the position `after`."""
        query = Query("SELECT * FROM grainchain_snapshots")
        query.where("agent_run_id = ?", run_id)
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)


_MEMBERS = json_members(GrainchainSnapshot)
