"""Logs: what clients send and receive."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
)
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from backend.schemas.fields import NO_NUL, PositiveInt, as_seen
from backend.schemas.json_object import JsonText, empty_object
from backend.schemas.plain_logs import (
    MAX_LOGS,
    MAX_MESSAGE,
    MAX_NAME,
    OWN_COMPONENT,
    PlainLog,
    plain_log,
    plain_logs,
)
from models import GivenLogLevel, Moment, SystemLog, name_rules

Message = Annotated[str, StringConstraints(min_length=1, max_length=MAX_MESSAGE), *NO_NUL]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), *name_rules("label")]


def _refuse_own(component: str) -> str:
    # The full check takes longer than the rest of a log's validation, and few names need it.
    plain = component.isascii() and component.isprintable()
    if plain and OWN_COMPONENT not in component.lower():
        return component
    if as_seen(component).partition(".")[0].rstrip() == OWN_COMPONENT:
        raise PydanticCustomError(
            "reserved_component", "this component is reserved for the service: choose another one"
        )
    return component


class LogEntry(RequestModel):
    """One log. It gets its `created_at` when it is stored."""

    level: Annotated[
        GivenLogLevel,
        Field(description="In any case; also `warn`, `fatal` (`CRITICAL`) and `trace` (`DEBUG`)."),
    ]
    message: Message
    component: Annotated[Name, AfterValidator(_refuse_own)] | None = Field(
        default=None,
        description="Anything but `strongroom` and names that begin with `strongroom.`.",
    )
    context: JsonText = Field(default_factory=empty_object)
    correlation_id: Name | None = None
    project_id: PositiveInt | None = Field(
        default=None, description="By default the project of the run, if there is one."
    )
    agent_run_id: PositiveInt | None = Field(default=None, description="A run of the project.")
    timestamp: Moment | None = Field(
        default=None, description="When it happened, with a zone; null if that is not known."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "level": "WARNING",
                    "message": "the clone took 40 s",
                    "component": "workspace",
                    "context": {"attempt": 2},
                    "agent_run_id": 1,
                }
            ]
        }
    )


class OwnLogEntry(LogEntry):
    """One log of the service itself."""

    component: Name


class LogBatch(RequestModel):
    """Several logs, stored in this order: all or none."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"next_cursor"}

    logs: Annotated[list[LogEntry], Field(max_length=MAX_LOGS)]


_one = TypeAdapter(LogEntry)
_several = TypeAdapter(LogBatch)


def _submission(value: object) -> LogEntry | PlainLog | Sequence[LogEntry | PlainLog]:
    # Not a union, which would report each error once for each of its members.
    if isinstance(value, dict) and "logs" in value:
        plain = plain_logs(value["logs"]) if len(value) == 1 else None
        return plain if plain is not None else _several.validate_python(value).logs
    return plain_log(value) or _one.validate_python(value)


LogSubmission = Annotated[
    # Not their classes, because the document of the API would name all of them.
    Any,
    PlainValidator(_submission, json_schema_input_type=LogEntry | LogBatch),
]
"""One log, or several."""


class LogsAccepted(BaseModel):
    accepted: int = Field(description="How many logs were stored.")


class LogList(BaseModel):
    logs: list[SystemLog]
    next_cursor: str | None
