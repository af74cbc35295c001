"""Repairs of the schemas that FastAPI and pydantic make, which some generators of clients would
misread."""

import json
from typing import Any, Final

from models import MAX_INT64

_MAX_INT32: Final = 2**31 - 1
_VALUES = frozenset({"examples", "example", "default", "const", "enum"})
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def clean_schemas(schemas: dict[str, Any]) -> None:
    """Repair the document's schemas in place, which have names and need no titles.

    The default of a member goes into its description: openapi-typescript takes a member with a
    default for one that is always there, also in requests.
    """
    for schema in schemas.values():
        schema.pop("title", None)
        for member in schema.get("properties", {}).values():
            if "default" in member:
                default = json.dumps(member.pop("default"), ensure_ascii=False)
                told = f"By default `{default}`."
                member["description"] = " ".join(filter(None, (member.get("description"), told)))


def clean(part: Any) -> None:
    """Repair a part of the document in place: integers have a format and integral bounds, and the
    titles that repeat the names of members are gone."""
    if isinstance(part, list):
        for item in part:
            clean(item)
    if not isinstance(part, dict):
        return
    if part.get("type") == "integer":
        _clean_integer(part)
    for name, value in part.items():
        if name in _VALUES:
            continue
        if name in ("properties", "schema"):
            for titled in value.values() if name == "properties" else (value,):
                titled.pop("title", None)
        clean(value)


def _clean_integer(schema: dict[str, Any]) -> None:
    for bound in _BOUNDS:
        if bound in schema:
            # A double has no room for the greatest integer, and becomes the one after it.
            schema[bound] = min(int(schema[bound]), MAX_INT64)
    # Many languages have no integer without a size, and would choose one that is too small for ids.
    is_small = schema.get("maximum", MAX_INT64) <= _MAX_INT32 and "minimum" in schema
    if "const" not in schema:
        schema.setdefault("format", "int32" if is_small else "int64")
