"""JSON that clients store with a row: limited in size and depth, and returned as it was sent."""

import math
from typing import Annotated, Any

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError, to_json

from backend.schemas.json_numbers import UNKEPT, UNKEPT_MESSAGE

MAX_JSON_BYTES = 65_536
"""The longest JSON of one field, in bytes of compact UTF-8."""
MAX_JSON_DEPTH = 64
"""Levels of nested objects and arrays. Parsers of JSON differ in the depth that they accept."""


def object_text(value: object) -> str:
    """A JSON object as the text that is stored and sent in answers: compact, with its keys in the
    given order. Raises `PydanticCustomError` for anything else, and beyond the limits."""
    if not isinstance(value, dict):
        raise PydanticCustomError("dict_type", "must be a JSON object")
    try:
        # The encoder of answers, so that a number has the same text everywhere.
        text = to_json(value, inf_nan_mode="constants").decode()
    except ValueError:
        text = ""
    # Cheap checks first: each level has a bracket, a character has at most four bytes, and a value
    # that is not a number is written as a name. Most objects need no more.
    if (
        not text
        or len(text) > MAX_JSON_BYTES // 4
        or text.count("{") + text.count("[") > MAX_JSON_DEPTH
        or "Infinity" in text
        or "NaN" in text
    ):
        _look_closely(value, text)
    return text


def _look_closely(value: dict[str, Any], text: str) -> None:
    levels, leaves = _taken_apart(value)
    if levels > MAX_JSON_DEPTH:
        raise PydanticCustomError(
            "json_depth",
            "must have at most {max_depth} levels of nesting",
            {"max_depth": MAX_JSON_DEPTH},
        )
    if any(leaf is UNKEPT or _is_no_number(leaf) for leaf in leaves):
        raise PydanticCustomError("json_value", UNKEPT_MESSAGE)
    if not text:
        raise PydanticCustomError("json_value", "must be valid Unicode")
    if len(text.encode()) > MAX_JSON_BYTES:
        raise PydanticCustomError(
            "json_size",
            "must have at most {max_bytes} bytes of JSON",
            {"max_bytes": MAX_JSON_BYTES},
        )


def _is_no_number(leaf: object) -> bool:
    return isinstance(leaf, float) and not math.isfinite(leaf)


def _taken_apart(value: object) -> tuple[int, list[object]]:
    """The number of levels, and all values that are not objects or arrays. Found without
    recursion, which has a limit of its own."""
    depth = 0
    leaves: list[object] = []
    level = [value]
    while level:
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            else:
                leaves.append(item)
        depth += any(isinstance(item, (dict, list)) for item in level)
        level = below
    return depth, leaves


JsonText = Annotated[
    str,
    PlainValidator(object_text, json_schema_input_type=dict[str, Any]),
    Field(
        description="Any JSON object of at most 64 KiB as compact UTF-8 and 64 levels, returned "
        "as it was sent. A number that could not be returned unchanged is refused."
    ),
]
"""A JSON object that validation turns into its text, so that it is encoded only once."""


def empty_object() -> str:
    """The default of a `JsonText`."""
    return "{}"
