"""The calls of a server for tests: what they take and answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from backend.schemas.base import RequestModel
from models import Moment, UtcTime

MOST_FAULTS = 1_000_000
SLOWEST_MS = 60_000

Count = Annotated[int, Field(ge=0, le=MOST_FAULTS)]


class StoreReset(BaseModel):
    """The answer when the store is empty again."""

    token: str


class ClockChange(RequestModel):
    """One of these."""

    move_seconds: Annotated[float, Field(allow_inf_nan=False)] | None = None
    at: Moment | None = None
    reset: Literal[True] | None = None


class ClockState(BaseModel):
    """The service's clock."""

    now: UtcTime
    moved_seconds: float


class FaultsChange(RequestModel):
    """The faults to set; those that are left out stay."""

    fail_next_commits: Count | None = None
    disk_full: bool | None = None
    lose_next_answers: Count | None = None
    slow_ms: Annotated[int, Field(ge=0, le=SLOWEST_MS)] | None = None


class FaultsState(BaseModel):
    """The faults to come."""

    fail_next_commits: int = 0
    disk_full: bool = False
    lose_next_answers: int = 0
    slow_ms: int = 0
