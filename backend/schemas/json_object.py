"""JSON that clients keep with a row: bounded, and given back as it came."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

MAX_JSON_BYTES = 65_536
"""The longest JSON of one field, in bytes of compact UTF-8."""
MAX_JSON_DEPTH = 64
"""Objects and arrays within one another; readers of JSON give up at different depths."""


def check_json(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, if it is within the bounds. Raises `PydanticCustomError`."""
    # The depth comes first: the encoder itself gives up on what is nested too deeply.
    if _depth(value) > MAX_JSON_DEPTH:
        raise PydanticCustomError(
            "json_depth", "at most {max_depth} levels of nesting", {"max_depth": MAX_JSON_DEPTH}
        )
    size = _encoded_size(value)
    if size is None:
        raise PydanticCustomError(
            "json_value", "a number is out of range, or a text is not valid Unicode"
        )
    if size > MAX_JSON_BYTES:
        raise PydanticCustomError(
            "json_size", "at most {max_bytes} bytes of JSON", {"max_bytes": MAX_JSON_BYTES}
        )
    return value


def _depth(value: object) -> int:
    """The levels of objects and arrays; found without recursion, which would have a limit too."""
    depth = 0
    level = [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _encoded_size(value: object) -> int | None:
    """Bytes of the value as it is stored; `None` when JSON can't say it. 1e999 is read as
    infinity, so that such a number can come from a body that is itself valid."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return len(text.encode())
    except ValueError:
        return None


BoundedJson = Annotated[
    dict[str, Any],
    AfterValidator(check_json),
    Field(
        description="Any JSON object of at most 64 KiB as compact UTF-8, and 64 levels; it comes "
        "back as it went in."
    ),
]
