"""The schemas of problem documents: one for each error code, so that programs can tell them
apart by `code` and know the members of each."""

from collections.abc import Sequence
from typing import Any

from backend.errors import ERROR_TABLE
from backend.http.openapi.components import reference
from backend.schemas.problems import PROBLEMS, Problem

ANY_PROBLEM = "Problem"
"""The name of the schema that any problem document fits."""


def problem_name(code: str) -> str:
    """The name of the schema of this error code: `ProjectExistsProblem` of `project_exists`."""
    return "".join(part.capitalize() for part in code.split("_")) + "Problem"


def schema_of(codes: Sequence[str]) -> dict[str, Any]:
    """The schema of an answer with one of these codes; `code` says with which."""
    references = [reference("schemas", problem_name(code)) for code in codes]
    if len(references) == 1:
        return references[0]
    mapping = {code: one["$ref"] for code, one in zip(codes, references, strict=True)}
    return {"oneOf": references, "discriminator": {"propertyName": "code", "mapping": mapping}}


def problem_schemas() -> dict[str, dict[str, Any]]:
    """The schema of each error code, of all of them, and of what they contain, by name."""
    schemas: dict[str, dict[str, Any]] = {}
    for code, (status, title) in ERROR_TABLE.items():
        shape = PROBLEMS.get(code, Problem)
        schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        del schema["title"]
        # Further members are allowed without it too, and generated types would take any name.
        schema.pop("additionalProperties")
        # That of a shape without a code is about all of them.
        if shape is Problem:
            schema["description"] = f"{title}."
        members = schema["properties"]
        members["type"] |= {"const": f"/problems/{code}"}
        members["status"] |= {"const": status}
        members["code"] |= {"const": code}
        members["title"] |= {"examples": [title]}
        for name in ("type", "code"):
            members[name].pop("examples", None)
        schemas[problem_name(code)] = schema
    every = schema_of(list(ERROR_TABLE))
    schemas[ANY_PROBLEM] = {**every, "description": "A problem document (RFC 9457) of any code."}
    return schemas
