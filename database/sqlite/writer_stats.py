"""What the writer has done so far."""

from dataclasses import dataclass


@dataclass(slots=True)
class WriterStats:
    """Counters since the pool was opened; times in seconds."""

    units: int = 0
    """Units of work and statements that succeeded."""
    failed_units: int = 0
    """Units of work and statements that ran and failed."""
    commits: int = 0
    failed_commits: int = 0
    largest_batch: int = 0
    repeated_batches: int = 0
    """Batches that were run again, because a unit without a savepoint failed late."""
    units_together: int = 0
    """Units that ran as one with others, each counted."""
    wait_total: float = 0.0
    """Time that units of work spent in the queue."""
    busy_total: float = 0.0
    """Time that the writer spent on batches."""
    checkpoints: int = 0
    wal_truncations: int = 0
