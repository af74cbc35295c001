"""How long data is kept: the limits, the data beyond them, and the progress of its removal."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models import UtcTime


class Limit(BaseModel):
    """Null means no limit. Whatever exceeds either limit is removed."""

    model_config = ConfigDict(frozen=True)

    days: int | None = Field(description="Rows older than this are removed.")
    newest: int | None = Field(description="How many of the newest rows are kept.")


class RetentionLimits(BaseModel):
    """For runs, `days` counts from their end, `newest` is for each project, and unfinished ones
    always stay."""

    model_config = ConfigDict(frozen=True)

    logs: Limit
    own_logs: Limit = Field(
        description="The service's own warnings and errors, which are stored as logs."
    )
    runs: Limit
    deliveries: Limit
    audit: Limit = Field(
        description="Only `days`. The newest entry of each guarded row stays, however old it is."
    )


class Removable(BaseModel):
    rows: int
    bytes: int = Field(
        description="About how much space the rows take in the file, with their indexes."
    )


class RetentionPlan(BaseModel):
    """What exceeds the limits now."""

    logs: Removable
    own_logs: Removable
    runs: Removable = Field(description="Runs, with their states, results and snapshots.")
    deliveries: Removable
    audit: Removable

    @property
    def rows(self) -> int:
        """The number of all rows that would be removed."""
        return sum(part.rows for part in self._parts())

    @property
    def bytes(self) -> int:
        """About how much space they take."""
        return sum(part.bytes for part in self._parts())

    def _parts(self) -> tuple[Removable, ...]:
        return self.logs, self.own_logs, self.runs, self.deliveries, self.audit


class Removed(BaseModel):
    """How many rows were removed."""

    logs: int = 0
    own_logs: int = 0
    runs: int = 0
    deliveries: int = 0
    audit: int = 0


class PruneProgress(BaseModel):
    """The latest removal since the server started."""

    status: Literal["running", "completed", "interrupted"]
    removed: Removed
    started_at: UtcTime
    finished_at: UtcTime | None


class RetentionStatus(BaseModel):
    limits: RetentionLimits
    would_remove: RetentionPlan
    prune: PruneProgress | None
