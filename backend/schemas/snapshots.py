"""Grainchain snapshots: what clients send and receive."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.base import RequestModel
from backend.schemas.fields import Label, MaybeLeaseToken, unset
from backend.schemas.json_object import JsonText, empty_object
from models import GrainchainSnapshot, LongText, SnapshotStatus

# Not strict, because JSON has the member's value as a string, which strict mode would refuse.
AnySnapshotStatus = Annotated[SnapshotStatus, Field(strict=False)]
FirstStatus = Literal["creating", "ready", "running", "completed", "failed"]

_ANSWER_ONLY = RequestModel.answer_only | {"agent_run_id", "destroyed_at"}


class SnapshotCreate(RequestModel):
    """A snapshot of a run. A snapshot recorded late may begin in a later status."""

    answer_only: ClassVar[frozenset[str]] = _ANSWER_ONLY

    snapshot_id: Label = Field(description="The snapshot's id in Grainchain.")
    status: FirstStatus = "creating"
    config: JsonText = Field(default_factory=empty_object)
    validation_results: JsonText | None = None
    error_message: LongText | None = None
    lease_token: MaybeLeaseToken = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"snapshot_id": "snap-7f3a", "config": {"image": "python:3.12"}}]
        }
    )


class SnapshotUpdate(RequestModel):
    """Fields left out stay as they are; null clears a field that can be null. The step to
    `destroyed` sets the time of its destruction."""

    answer_only: ClassVar[frozenset[str]] = _ANSWER_ONLY | {"snapshot_id"}

    status: AnySnapshotStatus = Field(default_factory=unset)
    config: JsonText = Field(default_factory=unset)
    validation_results: JsonText | None = Field(default_factory=unset)
    error_message: LongText | None = Field(default_factory=unset)
    lease_token: MaybeLeaseToken = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready"}, {"status": "destroyed"}]}
    )

    def given_fields(self) -> dict[str, Any]:
        """The snapshot's fields that the request contained, including those set to null."""
        given = super().given_fields()
        given.pop("lease_token", None)
        return given


class SnapshotList(BaseModel):
    snapshots: list[GrainchainSnapshot]
    next_cursor: str | None
