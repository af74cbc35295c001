"""How long data is kept: the limits, the data beyond them, and the progress of its removal."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models import UtcTime

RESTORABLE_DAYS = 30
"""How many days a deleted secret can be restored."""


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
    configuration_versions: Limit = Field(
        description="Only `newest`, for each configuration, with its present version. Those that "
        "runs refer to stay."
    )
    secret_versions: Limit = Field(
        description="Only `newest`, for each secret, with its present version."
    )
    deleted_secrets: Limit = Field(
        description="Only `days`: how long a deleted secret can be restored."
    )
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
    runs: Removable = Field(description="Runs, with their states, messages, results and snapshots.")
    deliveries: Removable
    answers: Removable = Field(
        description="Answers that were stored for idempotency keys, more than 24 hours old."
    )
    configuration_versions: Removable
    secret_versions: Removable
    deleted_secrets: Removable = Field(
        description="Secrets whose values will be destroyed; their keys and last numbers stay."
    )
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
        return tuple(getattr(self, name) for name in type(self).model_fields)


class Removed(BaseModel):
    """How many rows were removed."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    logs: int = 0
    own_logs: int = 0
    runs: int = 0
    deliveries: int = 0
    answers: int = 0
    configuration_versions: int = 0
    secret_versions: int = 0
    deleted_secrets: int = 0
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
