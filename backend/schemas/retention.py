"""How long data is kept: the limits, what is beyond them, and how far its removal is."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models import UtcTime


class Limit(BaseModel):
    """Null stands for no limit. What is beyond either of both goes."""

    model_config = ConfigDict(frozen=True)

    days: int | None = Field(description="What is older goes.")
    newest: int | None = Field(description="As many stay, the newest.")


class RetentionLimits(BaseModel):
    """For runs, `days` counts from their end, `newest` is for each project, and unfinished ones
    always stay."""

    model_config = ConfigDict(frozen=True)

    logs: Limit
    own_logs: Limit = Field(description="The service's own warnings and errors, which are logs.")
    runs: Limit
    deliveries: Limit


class Removable(BaseModel):
    rows: int
    bytes: int = Field(description="About how much room in the file it takes, with its indexes.")


class RetentionPlan(BaseModel):
    """What is beyond the limits now."""

    logs: Removable
    own_logs: Removable
    runs: Removable = Field(description="Runs, with their states, results and snapshots.")
    deliveries: Removable

    @property
    def rows(self) -> int:
        """All rows that would go."""
        return sum(part.rows for part in self._parts())

    @property
    def bytes(self) -> int:
        """About how much room all of them take."""
        return sum(part.bytes for part in self._parts())

    def _parts(self) -> tuple[Removable, ...]:
        return self.logs, self.own_logs, self.runs, self.deliveries


class Removed(BaseModel):
    """How many rows are gone."""

    logs: int = 0
    own_logs: int = 0
    runs: int = 0
    deliveries: int = 0


class PruneProgress(BaseModel):
    """The newest removal since the server started."""

    status: Literal["running", "completed", "interrupted"]
    removed: Removed
    started_at: UtcTime
    finished_at: UtcTime | None


class RetentionStatus(BaseModel):
    limits: RetentionLimits
    would_remove: RetentionPlan
    prune: PruneProgress | None
