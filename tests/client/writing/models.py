"""Writes `strongroom/models.py` and `strongroom/_problems.py` from openapi.json."""

import keyword
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
Schemas = Mapping[str, Schema]

BASES = {
    "ClaimedRun": "AgentRun",
    "LeasedRun": "AgentRun",
    "ListedProject": "Project",
    "TokenCreated": "TokenInfo",
    "WebhookDeliveryFull": "WebhookDelivery",
}
"""Models that have all that another one has, and more."""
SENT = ("LogEntry", "TestResultCreate")
"""The items of requests that take many of them; other requests are keywords of methods."""
HIDDEN = ("value", "token", "lease_token", "secret_token", "SecretsReveal.secrets")
"""Fields that no `repr` shows."""
_REF = "#/components/schemas/"
_PRIMITIVES = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_FAMILIES = {404: "NotFound", 409: "Conflict", 503: "Unavailable"}
_COMMON = ("type", "title", "status", "detail", "code", "request_id")
HEAD = '''"""What the service answers, as pydantic models. `make schema` writes this file.

They take what a newer service sends as well: they ignore fields that they do not know, and a
`Literal` holds any text when the program runs. No `repr` shows a value of a secret or a token.
"""

# ruff: noqa: E501

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema
from pydantic_core import core_schema

_AnyText = GetPydanticSchema(lambda _type, _handler: core_schema.str_schema())


class Model(BaseModel):
    """Base of all models."""

    model_config = ConfigDict(
        hide_input_in_errors=True, populate_by_name=True, protected_namespaces=()
    )
    # Otherwise pytest takes a model whose name begins with Test for tests.
    __test__: ClassVar[bool] = False


class VersionedModel(Model):
    """Base of what has versions."""

    version: int

    @property
    def etag(self) -> str:
        """The entity tag of this version, for `if_match` and `if_none_match`."""
        return f'"v{self.version}"'
'''
PROBLEMS_HEAD = '''\
"""An exception for each error code of the service. `make schema` writes this file."""

from collections.abc import Mapping, Sequence
from typing import Any

from strongroom._errors import (
    Conflict,
    FieldError,
    NotFound,
    StrongroomError,
    Unavailable,
    field_errors,
)
'''


def models(document: Mapping[str, Any]) -> str:
    """The module of the models."""
    schemas: Schemas = document["components"]["schemas"]
    roots = list(SENT)
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status[0] == "2":
                    roots += _named(response)
            for parameter in operation.get("parameters", []):
                roots += _named(parameter)
            roots += _enumerations(operation.get("requestBody", {}), schemas)
    parts = [HEAD]
    done: set[str] = set()
    for root in sorted(set(roots)):
        parts += _with_parts(root, schemas, done)
    return "\n\n".join(parts)


def _named(value: Any) -> list[str]:
    """The schemas to which any part of a value refers."""
    if isinstance(value, dict):
        here = (
            [value["$ref"].removeprefix(_REF)]
            if str(value.get("$ref", "")).startswith(_REF)
            else []
        )
        return here + [name for part in value.values() for name in _named(part)]
    if isinstance(value, list):
        return [name for part in value for name in _named(part)]
    return []


def _enumerations(body: Any, schemas: Schemas) -> list[str]:
    """The enumerations that fields of a request use: keywords have their types."""
    found: list[str] = []
    todo = _named(body)
    while todo:
        name = todo.pop()
        if "enum" in schemas[name]:
            found.append(name)
        todo += [other for other in _named(schemas[name]) if other not in found]
    return found


def _with_parts(name: str, schemas: Schemas, done: set[str]) -> Iterator[str]:
    """A model after the models that it uses."""
    if name in done:
        return
    done.add(name)
    schema = schemas[name]
    for part in sorted({*_named(schema), *([BASES[name]] if name in BASES else [])}):
        yield from _with_parts(part, schemas, done)
    yield _alias(name, schema) if "enum" in schema else _model(name, schema, schemas)


def _alias(name: str, schema: Schema) -> str:
    doc = f'\n"""{schema["description"]}"""' if "description" in schema else ""
    return f"{name} = Annotated[{_literal(schema)}, _AnyText]{doc}"


def _literal(schema: Schema) -> str:
    return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"


def _model(name: str, schema: Schema, schemas: Schemas) -> str:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    base = "VersionedModel" if {"version", "updated_at"} <= properties.keys() else "Model"
    inherited: set[str] = {"version"} if base == "VersionedModel" else set()
    if name in BASES:
        base = BASES[name]
        inherited = set(schemas[base]["properties"])
        assert inherited <= properties.keys(), f"{name} has less than {base}"
    lines = [f"class {name}({base}):"]
    if "description" in schema:
        lines += [f'    """{schema["description"]}"""', ""]
    required = schema.get("required", ())
    # The document sorts properties by name, but not the list of those that are required.
    for field in [*required, *sorted(properties.keys() - set(required))]:
        if field not in inherited and not properties[field].get("readOnly"):
            lines += _field(
                field,
                properties[field],
                is_required=field in required,
                is_hidden=field in HIDDEN or f"{name}.{field}" in HIDDEN,
            )
    if len(lines) == 1:
        lines.append("    pass")
    return "\n".join(lines)


def _field(name: str, schema: Schema, *, is_required: bool, is_hidden: bool) -> Iterator[str]:
    kind = python_type(schema, in_model=True)
    options = []
    attribute = name
    if keyword.iskeyword(name):
        attribute = f"{name}_"
        options.append(f"alias={name!r}")
    if is_hidden:
        options.append("repr=False")
    if not is_required:
        if not kind.endswith("| None"):
            kind += " | None"
        options.insert(0, "default=None")
    if options == ["default=None"]:
        yield f"    {attribute}: {kind} = None"
    elif options:
        yield f"    {attribute}: {kind} = Field({', '.join(options)})"
    else:
        yield f"    {attribute}: {kind}"
    if "description" in schema:
        yield f'    """{schema["description"]}"""'


def python_type(schema: Schema, *, in_model: bool) -> str:
    """The type of a value with this schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REF)
    if "anyOf" in schema:
        kinds = [python_type(each, in_model=in_model) for each in schema["anyOf"]]
        return " | ".join(dict.fromkeys(sorted(kinds, key=lambda kind: kind == "None")))
    if "enum" in schema:
        literal = _literal(schema)
        return f"Annotated[{literal}, _AnyText]" if in_model else literal
    kind = schema.get("type")
    if kind == "array":
        return f"list[{python_type(schema['items'], in_model=in_model)}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        of = python_type(values, in_model=in_model) if isinstance(values, dict) else "Any"
        return f"dict[str, {of}]"
    if kind == "string":
        return "datetime" if schema.get("format") == "date-time" else "str"
    return _PRIMITIVES.get(str(kind), "Any")


def problems(document: Mapping[str, Any]) -> str:
    """The module of the exceptions."""
    schemas: Schemas = document["components"]["schemas"]
    parts = [PROBLEMS_HEAD]
    by_code = {}
    for name, schema in sorted(schemas.items()):
        if not name.endswith("Problem") or "properties" not in schema:
            continue
        code = schema["properties"]["code"]["const"]
        by_code[code] = name.removesuffix("Problem")
        if by_code[code] not in _FAMILIES.values():
            parts.append(_exception(by_code[code], code, schema))
    rows = "".join(f'    "{code}": {name},\n' for code, name in sorted(by_code.items()))
    parts.append(f"BY_CODE: dict[str, type[StrongroomError]] = {{\n{rows}}}\n")
    return "\n\n".join(parts)


def _exception(name: str, code: str, schema: Schema) -> str:
    status = schema["properties"]["status"]["const"]
    family = _FAMILIES.get(status, "StrongroomError")
    title = schema["properties"]["title"]["examples"][0]
    lines = [
        f"class {name}({family}):",
        f'    """{title} ({status})."""',
        "",
        f'    default_code = "{code}"',
    ]
    for field, of in schema["properties"].items():
        if field in _COMMON or (field == "errors" and family == "NotFound"):
            continue
        kind, value = _member(field, of, is_required=field in schema["required"])
        lines += ["", "    @property", f"    def {field}(self) -> {kind}:"]
        lines += [f'        """{of["description"]}"""', f"        {value}"]
    return "\n".join(lines)


def _member(field: str, schema: Schema, *, is_required: bool) -> tuple[str, str]:
    if field == "errors":
        return "Sequence[FieldError]", "return field_errors(self.problem)"
    kind = python_type(schema, in_model=False)
    if kind.startswith("list["):
        items = "str" if kind == "list[str]" else "Mapping[str, Any]"
        return f"Sequence[{items}]", f'return list(self.problem.get("{field}", ()))'
    if kind == "str" and is_required:
        return kind, f'return str(self.problem.get("{field}", ""))'
    if not kind.endswith("| None"):
        kind += " | None"
    return kind, f'found: {kind} = self.problem.get("{field}")\n        return found'


INIT_HEAD = '''\
"""Strongroom: `AsyncClient` and `Client` for programs; `python -m strongroom` is the command.

This package imports nothing of the server, whose modules other programs do not see. Its own names
are imported when they are used, so that nothing waits for what it does not need. `make schema`
writes this file.
"""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
'''
INIT_TAIL = """

def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(place), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
"""


def package(document: Mapping[str, Any], by_hand: Mapping[str, str]) -> str:
    """The module of the package itself. `by_hand` has the places of names that are not errors by
    code."""
    codes = {
        name.removesuffix("Problem"): "strongroom._problems"
        for name, schema in document["components"]["schemas"].items()
        if name.endswith("Problem") and "properties" in schema
    }
    places = dict(sorted({**codes, **by_hand}.items()))
    imports = "".join(
        f"    from {place} import {name} as {name}\n" for name, place in places.items()
    )
    rows = "".join(f'    "{name}": "{place}",\n' for name, place in places.items())
    names = "".join(f'    "{name}",\n' for name in places)
    return f"{INIT_HEAD}{imports}\n__all__ = [\n{names}]\n\n_PLACES = {{\n{rows}}}\n{INIT_TAIL}"
