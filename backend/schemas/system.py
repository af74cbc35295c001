"""Health and readiness."""

from typing import Literal

from pydantic import (
    BaseModel,
)


class Health(BaseModel):
    status: Literal["healthy"] = "healthy"
    service: Literal["strongroom"] = "strongroom"


class ReadinessCheck(BaseModel):
    status: Literal["ok", "failed", "full"]
    """`full` means that the disk is full; requests that change nothing are still answered."""
    detail: str | None = None


class ReadinessChecks(BaseModel):
    database: ReadinessCheck
    migrations: ReadinessCheck
    keys: ReadinessCheck
    writer_queue: ReadinessCheck
    writes: ReadinessCheck


class Readiness(BaseModel):
    status: Literal["ready", "not_ready"]
    checks: ReadinessChecks
