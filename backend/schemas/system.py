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
    """`full` stands for a disk without room: what changes nothing is answered all the same."""
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
