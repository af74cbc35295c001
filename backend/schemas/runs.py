"""Agent runs and their pipeline states: what clients send and receive."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.schemas.base import RequestModel
from backend.schemas.fields import NO_NUL, Label, LeaseToken, MaybeLeaseToken, PositiveInt, unset
from backend.schemas.json_object import JsonText, empty_object
from models import (
    AgentRun,
    HttpUrl,
    LongText,
    PipelineState,
    PipelineStateName,
    RunStatus,
    RunType,
    UtcTime,
    ValidationStatus,
)

MAX_TARGET = 50_000
MAX_LEASE_SECONDS = 3600
DEFAULT_LEASE_SECONDS = 60
MAX_CLAIM_PROJECTS = 500
MAX_CLAIM_COUNT = 100


TargetText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TARGET), *NO_NUL]
# Not strict, because JSON has the member's value as a string, which strict mode would refuse.
AnyRunType = Annotated[RunType, Field(strict=False)]
AnyRunStatus = Annotated[RunStatus, Field(strict=False)]
AnyValidationStatus = Annotated[ValidationStatus, Field(strict=False)]
AnyPipelineState = Annotated[PipelineStateName, Field(strict=False)]

_RUN_ANSWER_ONLY = RequestModel.answer_only | {
    "run_number",
    "settings_version",
    "started_at",
    "completed_at",
    "lease_expires_at",
}


class ProjectRunCreate(RequestModel):
    """A run to be done in the project that the path names. The planning statement is optional."""

    answer_only: ClassVar[frozenset[str]] = _RUN_ANSWER_ONLY

    target_text: TargetText
    planning_statement: LongText | None = None
    run_type: AnyRunType = RunType.REGULAR
    metadata: JsonText = Field(default_factory=empty_object)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"target_text": "Add a dark mode", "run_type": "plan"}]}
    )

    def in_project(self, project_id: int) -> "AgentRunCreate":
        """The same run, with its project."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return AgentRunCreate.model_construct(
            self.model_fields_set | {"project_id"}, project_id=project_id, **fields
        )


class AgentRunCreate(ProjectRunCreate):
    """A run to be done. The planning statement is optional."""

    project_id: PositiveInt

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"project_id": 1, "target_text": "Add a dark mode", "run_type": "plan"}]
        }
    )


@dataclass(frozen=True, slots=True)
class RunChoice:
    """The filters of a list of runs; what is not given allows all."""

    project_id: int | None = None
    statuses: tuple[RunStatus, ...] = ()
    run_types: tuple[RunType, ...] = ()
    worker: str | None = None
    """The worker that has the run, or had it last."""
    since: datetime | None = None
    until: datetime | None = None
    """When the run was created, both included."""
    text: str | None = None
    """A part of the target text."""


class AgentRunUpdate(RequestModel):
    """Fields left out stay as they are; null clears a field that can be null."""

    answer_only: ClassVar[frozenset[str]] = _RUN_ANSWER_ONLY

    target_text: TargetText = Field(default_factory=unset)
    planning_statement: LongText | None = Field(default_factory=unset)
    run_type: AnyRunType = Field(default_factory=unset)
    result: LongText | None = Field(default_factory=unset)
    error_message: LongText | None = Field(default_factory=unset)
    pr_number: PositiveInt | None = Field(default_factory=unset)
    pr_url: HttpUrl | None = Field(default_factory=unset)
    web_url: HttpUrl | None = Field(default_factory=unset)
    codegen_run_id: Label | None = Field(default_factory=unset)
    validation_status: AnyValidationStatus = Field(default_factory=unset)
    auto_merge_enabled: bool = Field(default_factory=unset)
    merge_completed: bool = Field(default_factory=unset)
    metadata: JsonText = Field(default_factory=unset)
    lease_token: MaybeLeaseToken = None
    status: AnyRunStatus = Field(
        default_factory=unset,
        description="The run's current status, as it was read; only transitions change it.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"pr_number": 7, "pr_url": "https://github.com/acme/payments/pull/7"}]
        }
    )

    def given_fields(self) -> dict[str, Any]:
        """The run's fields that the request contained, including those set to null."""
        given = super().given_fields()
        given.pop("lease_token", None)
        return given


class RunOutcome(RequestModel):
    """What a client may report when a run ends or pauses."""

    result: LongText | None = Field(default_factory=unset)
    error_message: LongText | None = Field(default_factory=unset)
    lease_token: MaybeLeaseToken = None

    def outcome(self) -> dict[str, str | None]:
        """`result` and `error_message`, if the request contained them, also as null."""
        given = self.given_fields()
        return {name: given[name] for name in ("result", "error_message") if name in given}


class RunTransition(RunOutcome):
    """A step to another status, with its outcome."""

    to: AnyRunStatus

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"to": "completed", "result": "Opened PR 7"}]}
    )


class RunCancel(RunOutcome):
    """Why a run is cancelled; every field is optional."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error_message": "not wanted any more"}]}
    )


class RunClaim(RequestModel):
    """A worker that asks for a run."""

    answer_only: ClassVar[frozenset[str]] = frozenset()

    worker: Label = Field(description="The name of the worker, for people to read.")
    project_ids: (
        Annotated[list[PositiveInt], Field(min_length=1, max_length=MAX_CLAIM_PROJECTS)] | None
    ) = Field(default=None, description="Only runs of these projects; by default, of any project.")
    lease_seconds: Annotated[int, Field(ge=1, le=MAX_LEASE_SECONDS)] = Field(
        default=DEFAULT_LEASE_SECONDS,
        description="How long the lease lasts after the claim and after each heartbeat.",
    )
    count: Annotated[int, Field(ge=1, le=MAX_CLAIM_COUNT)] | None = Field(
        default=None,
        description="The maximum number of runs to claim, fewer when their JSON passes 4 MiB; "
        "the answer is then a list. By default one run.",
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"worker": "agent-7", "lease_seconds": 60}]}
    )


class RunHeartbeat(RequestModel):
    """A worker's sign of life."""

    lease_token: LeaseToken

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"lease_token": "lt_made_up_for_this_example"}]}
    )


class PipelineStateCreate(RequestModel):
    """The state that the run's pipeline has reached; the previous one is known."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {
        "agent_run_id",
        "previous_state",
        "duration_seconds",
    }

    state: AnyPipelineState
    metadata: JsonText = Field(default_factory=empty_object)
    lease_token: MaybeLeaseToken = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"state": "testing", "metadata": {"suite": "e2e"}}]}
    )


class AgentRunList(BaseModel):
    agent_runs: list[AgentRun]
    next_cursor: str | None


class LeasedRun(AgentRun):
    """A run, and when its lease expires without another heartbeat."""

    lease_expires_at: UtcTime = Field()


class ClaimedRun(LeasedRun):
    """A run that was given to a worker. Only this answer shows the lease token."""

    lease_token: str = Field(repr=False)


class ClaimedRuns(BaseModel):
    """The runs that were given to a worker that asked for several."""

    agent_runs: list[ClaimedRun]


class PipelineStateEntry(PipelineState):
    """A state in a run's history."""

    duration_seconds: float | None = Field(
        description="Seconds until the next state; null for the last one."
    )


class PipelineHistory(BaseModel):
    """A run with its states, oldest first."""

    agent_run: AgentRun
    pipeline_states: list[PipelineStateEntry]
    next_cursor: str | None
