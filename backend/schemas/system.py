"""Health and readiness."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Health(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["healthy"] = "healthy"
    service: Literal["strongroom"] = "strongroom"


class ReadinessCheck(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["ok", "failed", "full"]
    """`full` means that the disk is full; requests that change nothing are still answered."""
    detail: str | None = None


class ReadinessChecks(BaseModel):
    database: ReadinessCheck
    migrations: ReadinessCheck
    keys: ReadinessCheck
    writer_queue: ReadinessCheck
    writes: ReadinessCheck


class LogsToIndex(BaseModel):
    """How far the logs that an earlier version stored are indexed again."""

    total: int = Field(description="An upper bound on the number of logs.")
    done: int


class RowsToIndex(BaseModel):
    """How far an index that searches use is made."""

    total: int = Field(description="An upper bound on the number of rows.")
    done: int


class Readiness(BaseModel):
    status: Literal["ready", "not_ready"]
    checks: ReadinessChecks
    log_words: LogsToIndex | None = Field(
        default=None,
        exclude_if=lambda progress: progress is None,
        description="Only while logs of an earlier version are being indexed.",
    )
    project_index: RowsToIndex | None = Field(
        default=None,
        exclude_if=lambda progress: progress is None,
        description="Only while searches for projects are slow, because more than 5,000 are not "
        "indexed.",
    )
    run_index: RowsToIndex | None = Field(
        default=None,
        exclude_if=lambda progress: progress is None,
        description="The same for runs.",
    )
