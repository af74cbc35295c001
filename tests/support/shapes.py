"""Values of the shapes in an OpenAPI document."""

from typing import Any


def smallest(shape: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value of this shape: its example if it has one, otherwise the smallest valid value."""
    if "$ref" in shape:
        return smallest(schemas[shape["$ref"].rpartition("/")[2]], schemas)
    for word in ("examples", "enum"):
        if shape.get(word):
            return shape[word][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in shape:
            return smallest(shape[word][0], schemas)
    if shape.get("type") == "object":
        required = shape.get("required", [])
        return {name: smallest(shape["properties"][name], schemas) for name in required}
    if shape.get("type") == "array":
        return [smallest(shape["items"], schemas)] * shape.get("minItems", 0)
    return _plain(shape)


def _plain(shape: dict[str, Any]) -> Any:
    if "const" in shape:
        return shape["const"]
    kinds: dict[str, Any] = {"integer": 1, "number": 1, "boolean": False, "null": None}
    kind = shape.get("type", "string")
    return shape.get("minimum", kinds[kind]) if kind in kinds else "a" * shape.get("minLength", 1)


def about(body: Any, project_id: int) -> Any:
    """The body with this project id in place of each project id, and with the secret KEY in place
    of keys: the one that tests give a project."""
    if isinstance(body, list):
        return [about(item, project_id) for item in body]
    if not isinstance(body, dict):
        return body
    named = {"project_id": project_id, "project_ids": [project_id], "keys": ["KEY"]}
    return {name: named.get(name) or about(value, project_id) for name, value in body.items()}
