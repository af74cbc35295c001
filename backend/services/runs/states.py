"""The transitions between the statuses of a run."""

from typing import Final

from models import RunStatus

TRANSITIONS: Final[dict[RunStatus, tuple[RunStatus, ...]]] = {
    RunStatus.PENDING: (RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED),
    RunStatus.RUNNING: (
        RunStatus.PAUSED,
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
    ),
    RunStatus.PAUSED: (RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED),
    RunStatus.COMPLETED: (),
    RunStatus.FAILED: (),
    RunStatus.CANCELLED: (),
}
"""The statuses that a client may move a run to from each status.

In addition, a claim moves a run from pending to running, and an expired lease moves it from
running to pending the first time and to failed the second time.
"""

FINAL: Final = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
"""The statuses that a run never leaves."""


def sources(target: RunStatus) -> tuple[RunStatus, ...]:
    """The statuses from which a run may go to `target`."""
    return tuple(status for status, targets in TRANSITIONS.items() if target in targets)
