"""Logs: what clients send and get."""

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
)

from backend.schemas.fields import NO_NUL, PositiveInt
from backend.schemas.json_object import JsonText, empty_object
from models import LogLevel, RequestModel, SystemLog, name_rules

MAX_LOGS = 1000
MAX_MESSAGE = 10_000
MAX_NAME = 100

Message = Annotated[str, StringConstraints(min_length=1, max_length=MAX_MESSAGE), *NO_NUL]
Component = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME), *name_rules("label")
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), *NO_NUL]


class LogEntry(RequestModel):
    """One log. It gets its time when it is stored."""

    level: Annotated[LogLevel, Field(strict=False)]
    message: Message
    component: Component | None = None
    context: JsonText = Field(default_factory=empty_object)
    correlation_id: Name | None = None
    project_id: PositiveInt | None = Field(
        default=None, description="Without it, the project of the run, or none."
    )
    agent_run_id: PositiveInt | None = Field(default=None, description="A run of the project.")

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


class LogBatch(RequestModel):
    """Several logs: all of them are stored, in this order, or none."""

    logs: Annotated[list[LogEntry], Field(max_length=MAX_LOGS)]


_one = TypeAdapter(LogEntry)
_several = TypeAdapter(LogBatch)


def _submission(value: object) -> LogEntry | list[LogEntry]:
    # Not a union: what is wrong with a log would be told once for each of its members.
    if isinstance(value, dict) and "logs" in value:
        return _several.validate_python(value).logs
    return _one.validate_python(value)


LogSubmission = Annotated[
    LogEntry | list[LogEntry],
    PlainValidator(_submission, json_schema_input_type=LogEntry | LogBatch),
]
"""One log, or several."""


class LogsAccepted(BaseModel):
    accepted: int = Field(description="How many logs were stored.")


class LogList(BaseModel):
    logs: list[SystemLog]
    next_cursor: str | None
