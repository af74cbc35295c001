"""The transitions between the statuses of a snapshot."""

from typing import Final

from models import SnapshotStatus

TRANSITIONS: Final[dict[SnapshotStatus, tuple[SnapshotStatus, ...]]] = {
    SnapshotStatus.CREATING: (
        SnapshotStatus.READY,
        SnapshotStatus.FAILED,
        SnapshotStatus.DESTROYED,
    ),
    SnapshotStatus.READY: (
        SnapshotStatus.RUNNING,
        SnapshotStatus.FAILED,
        SnapshotStatus.DESTROYED,
    ),
    SnapshotStatus.RUNNING: (
        SnapshotStatus.COMPLETED,
        SnapshotStatus.FAILED,
        SnapshotStatus.DESTROYED,
    ),
    SnapshotStatus.COMPLETED: (SnapshotStatus.DESTROYED,),
    SnapshotStatus.FAILED: (SnapshotStatus.DESTROYED,),
    SnapshotStatus.DESTROYED: (),
}
"""The statuses that a snapshot may go to from each status."""


def sources(target: SnapshotStatus) -> tuple[SnapshotStatus, ...]:
    """The statuses from which a snapshot may go to `target`."""
    return tuple(status for status, targets in TRANSITIONS.items() if target in targets)
