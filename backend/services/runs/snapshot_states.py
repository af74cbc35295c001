"""What can become of a snapshot: the one place where its states are said."""

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
"""For each status those that a snapshot may go to from it."""


def sources(target: SnapshotStatus) -> tuple[SnapshotStatus, ...]:
    """The statuses from which a snapshot may go to `target`."""
    return tuple(status for status, targets in TRANSITIONS.items() if target in targets)
