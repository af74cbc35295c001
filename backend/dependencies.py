"""The shared parts of routes: ids, pages, filters, the service, and problem responses."""

import re
from enum import StrEnum
from typing import Annotated, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from backend.http.authentication import client_address, running_service
from backend.http.guarded_route import GuardedRouter, Service
from backend.http.problems import (
    install_error_handlers,
    json_response,
    problem_responses,
    problems,
)
from models import MAX_INT64

__all__ = [
    "AnyOf",
    "Cursor",
    "GuardedRouter",
    "Id",
    "Limit",
    "PlainDigits",
    "ProjectId",
    "RunId",
    "Service",
    "client_address",
    "install_error_handlers",
    "json_response",
    "problem_responses",
    "problems",
    "running_service",
]


def _decimal(value: object) -> object:
    # Pydantic also accepts " 1", "+1", "01", "1_0" and "1.0": one resource would have many URLs.
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise PydanticCustomError("int_parsing", "Input should be an integer in plain digits")
    return value


_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
PlainDigits = BeforeValidator(_decimal)


def _boolean(value: object) -> object:
    # Pydantic also accepts "1", "on", "yes" and "T", and a purge can't be undone.
    if isinstance(value, str) and value not in ("true", "false"):
        raise PydanticCustomError("bool_parsing", "Input should be true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_boolean)]
"""A boolean in a query."""
Id = Annotated[int, Field(ge=1, le=MAX_INT64), PlainDigits]
"""An id in a path or a query."""
ProjectId = Annotated[Id, Path(description="The project's id.", examples=[1])]
RunId = Annotated[Id, Path(description="The run's id.", examples=[1])]
Choice = TypeVar("Choice", bound=StrEnum)


def _distinct(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """The choices sorted and without repetitions, since cursors and kept answers depend on them."""
    return tuple(sorted(set(choices)))


AnyOf = Annotated[tuple[Choice, ...], AfterValidator(_distinct)]
"""A filter that may be repeated and matches any of its values. Without it, everything matches."""
Limit = Annotated[
    int,
    Field(ge=1, le=500),
    PlainDigits,
    Query(description="The maximum number of items on the page."),
]
Cursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the previous page, with the same filters."),
]
