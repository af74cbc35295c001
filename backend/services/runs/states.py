"""What can become of a run: the one place where its states are said."""

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
"""For each status those that a client may take a run to from it.

Beside these a claim takes a run from pending to running, and a lease that runs out takes it from
running to pending the first time, and to failed the second.
"""

FINAL: Final = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
"""What a run never leaves."""


def sources(target: RunStatus) -> tuple[RunStatus, ...]:
    """The statuses from which a run may go to `target`."""
    return tuple(status for status, targets in TRANSITIONS.items() if target in targets)
