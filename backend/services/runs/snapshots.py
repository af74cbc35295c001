"""Use cases for Grainchain snapshots."""

from collections.abc import Awaitable, Callable

from backend.errors import AgentRunNotFound, InvalidTransition, SnapshotNotFound
from backend.repositories import Repositories
from backend.schemas.snapshots import SnapshotCreate, SnapshotList, SnapshotUpdate
from backend.services.base import UseCases, differing, unit_of_work
from backend.services.kinds import Kind
from backend.services.preconditions import matched
from backend.services.runs.access import (
    changeable_run,
    existing_run,
    require_lease,
    writable_run,
)
from backend.services.runs.snapshot_states import TRANSITIONS, sources
from models import AgentRun, GrainchainSnapshot, SnapshotStatus


class Snapshots(UseCases):
    """Creating, reading and changing snapshots."""

    @unit_of_work
    async def create(self, run_id: int, snapshot: SnapshotCreate) -> GrainchainSnapshot:
        """A new snapshot of the run.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, `LeaseLost`, and
        `SnapshotExists` when the run already has a snapshot with this `snapshot_id`.
        """
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, snapshot.lease_token)
            data = snapshot.model_dump(exclude={"lease_token"})
            created = await repositories.snapshots.create({**data, "agent_run_id": run_id})
            await self.kit.audit.record(
                repositories,
                Kind.SNAPSHOT_CREATED,
                target=f"snapshots/{created.id}",
                project_id=run.project_id,
                fields=snapshot.model_fields_set - {"lease_token"},
                version=created.version,
            )
            return created

    @unit_of_work(read_only=True)
    async def page(self, run_id: int, *, limit: int, cursor: str | None) -> SnapshotList:
        """One page of a run's snapshots, newest first. Raises `AgentRunNotFound`, `BadCursor`."""
        listing = self.kit.listing("snapshots", run_id, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_run(repositories, run_id)
            page = await repositories.snapshots.page(run_id, limit=limit, after=listing.after)
        return listing.answer(SnapshotList, page, snapshots=page.items)

    @unit_of_work(read_only=True)
    async def get(self, snapshot_id: int) -> GrainchainSnapshot:
        """The snapshot. Raises `SnapshotNotFound`."""
        async with self.transaction() as repositories:
            snapshot, _ = await _with_run(repositories, snapshot_id)
            return snapshot

    @unit_of_work
    async def update(self, snapshot_id: int, update: SnapshotUpdate) -> GrainchainSnapshot:
        """The snapshot with the given fields changed; the same as before when none differs.

        Raises `SnapshotNotFound`, `ProjectNotFound` when its project is deleted, `LeaseLost`, and
        `InvalidTransition` when its status does not allow the requested one.
        """
        async with self.transaction() as repositories:
            snapshot, run = await _with_run(repositories, snapshot_id, changeable_run)
            expected = matched(snapshot.version)
            require_lease(run, update.lease_token)
            changes = differing(snapshot, update.given_fields())
            if not changes:
                return snapshot
            # The update's own condition decides, so that only one of two racing requests succeeds.
            target: SnapshotStatus | None = changes.get("status")
            allowed = sources(target) if target is not None else tuple(SnapshotStatus)
            changed = await repositories.snapshots.change_from(
                snapshot_id, changes, sources=allowed, expected=expected
            )
            if changed is None:
                current, _ = await _with_run(repositories, snapshot_id)
                raise _refusal(current, target)
            await self.kit.audit.record(
                repositories,
                Kind.SNAPSHOT_UPDATED,
                target=f"snapshots/{snapshot_id}",
                project_id=run.project_id,
                fields=changes,
                version=changed.version,
            )
            return changed


async def _with_run(
    repositories: Repositories,
    snapshot_id: int,
    find_run: Callable[[Repositories, int], Awaitable[AgentRun]] = existing_run,
) -> tuple[GrainchainSnapshot, AgentRun]:
    snapshot = await repositories.snapshots.get_by_id(snapshot_id)
    if snapshot is None:
        raise SnapshotNotFound
    try:
        return snapshot, await find_run(repositories, snapshot.agent_run_id)
    except AgentRunNotFound:
        # The principal may not see the run's project, so the snapshot answers as missing too.
        raise SnapshotNotFound from None


def _refusal(snapshot: GrainchainSnapshot, target: SnapshotStatus | None) -> InvalidTransition:
    return InvalidTransition(
        f"a snapshot can't go from {snapshot.status} to {target}",
        current=snapshot.status.value,
        # Another program may have written an unknown status, which leads nowhere.
        allowed=[status.value for status in TRANSITIONS.get(snapshot.status, ())],
    )
