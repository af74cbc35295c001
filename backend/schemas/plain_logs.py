"""Logs of the ordinary form: pydantic checks them without calling Python for each.

Everything else is left to `LogEntry`, which also tells what is wrong.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from backend.schemas.fields import PositiveInt
from backend.schemas.json_object import empty_object, object_text
from models import LOG_LEVEL_NAMES, read_moment


class PlainLog(NamedTuple):
    """A log with the values of the `LogEntry` that would be made of it."""

    level: str
    message: str
    component: str | None
    context: str
    correlation_id: str | None
    project_id: int | None
    agent_run_id: int | None
    timestamp: datetime | None


MAX_LOGS: Final = 1000
MAX_MESSAGE: Final = 10_000
MAX_NAME: Final = 100
OWN_COMPONENT: Final = "strongroom"
"""The component of the service's own logs; others begin with it, such as `strongroom.audit`."""

_LEVELS: Final = {
    written: level.value
    for name, level in LOG_LEVEL_NAMES.items()
    for written in (name, name.lower(), name.capitalize())
}
"""The levels as most programs write them."""
_PlainName = Annotated[
    str,
    # Printable ASCII with a visible character.
    StringConstraints(min_length=1, max_length=MAX_NAME, pattern=r"^[ -~]*[!-~][ -~]*$"),
]


class _Members(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    level: Literal[tuple(_LEVELS)]  # type: ignore[valid-type]
    message: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MESSAGE)]
    component: NotRequired[_PlainName | None]
    context: NotRequired[Any]
    correlation_id: NotRequired[_PlainName | None]
    project_id: NotRequired[PositiveInt | None]
    agent_run_id: NotRequired[PositiveInt | None]
    timestamp: NotRequired[str | None]


_one = TypeAdapter(_Members)
_several = TypeAdapter(list[_Members])


def plain_log(value: object) -> PlainLog | None:
    """The log in a decoded JSON object; `None` if it is not of the ordinary form."""
    try:
        return _plain(_one.validate_python(value))
    except (ValidationError, PydanticCustomError):
        return None


def plain_logs(values: object) -> list[PlainLog] | None:
    """The logs in a decoded JSON array; `None` if one of them is not of the ordinary form, whether
    it is a log or not, or if there are too many."""
    if type(values) is not list or len(values) > MAX_LOGS:
        return None
    try:
        return [_plain(members) for members in _several.validate_python(values)]
    except (ValidationError, PydanticCustomError):
        return None


def _plain(members: _Members) -> PlainLog:
    """Raises `PydanticCustomError` if it is not of the ordinary form."""
    message, component = members["message"], members.get("component")
    timestamp = members.get("timestamp")
    if "\0" in message or (component is not None and OWN_COMPONENT in component.lower()):
        raise _UNUSUAL
    return PlainLog(
        _LEVELS[members["level"]],
        message,
        component,
        object_text(members["context"]) if "context" in members else empty_object(),
        members.get("correlation_id"),
        members.get("project_id"),
        members.get("agent_run_id"),
        read_moment(timestamp) if timestamp is not None else None,
    )


_UNUSUAL = PydanticCustomError("unusual", "is not of the ordinary form")
