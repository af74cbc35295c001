"""Every route, and the smallest request for each that its shape permits.

Routes are found in the OpenAPI document, so that tests cover a new one without a change here.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from backend.http.fast_path.route_table import RouteTable
from backend.main import create_app
from backend.routes import POLICIES
from config.settings import Settings

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Call:
    """A route, and the parts of a request for it."""

    method: str
    path: str
    scope: str | None
    """The scope that it requires; `None` when it needs no token."""
    body: Any
    """The smallest body that its shape permits; `None` when it reads no body."""
    headers: dict[str, str]
    query: frozenset[str]
    """The names of its query parameters."""

    @property
    def names(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"\{(\w+)\}", self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


_documents: dict[frozenset[str], dict[str, Any]] = {}


def document_of(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI document, made once for all applications with the same routes,
    because it takes as long as thirty tests."""
    routes = frozenset(
        f"{sorted(route.methods or ())} {route.path}"
        for route in app.router.routes
        if isinstance(route, APIRoute)
    )
    if routes not in _documents:
        _documents[routes] = app.openapi()
    return _documents[routes]


@cache
def all_calls() -> tuple[Call, ...]:
    """Every route of an application with the default settings."""
    return tuple(calls(create_app(Settings(_env_file=None))))


def calls(app: FastAPI) -> list[Call]:
    """Every route of the application, in the order of its document."""
    return calls_of(document_of(app))


def calls_of(document: dict[str, Any]) -> list[Call]:
    """Every route of an OpenAPI document, in its order."""
    schemas = document["components"]["schemas"]
    return [
        Call(
            method=method.upper(),
            path=path,
            scope=POLICIES[method.upper(), path].scope,
            body=_body(operation, schemas),
            headers=_headers(operation, schemas),
            query=frozenset(
                parameter["name"]
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "query"
            ),
        )
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def hidden_routes(app: FastAPI) -> set[str]:
    """The paths of routes that are not in the document."""
    shown = set(document_of(app)["paths"])
    paths = {
        route.path_format if isinstance(route, APIRoute) else getattr(route, "path", str(route))
        for route in app.router.routes
        # The table's own routes are also listed after it.
        if not isinstance(route, RouteTable)
    }
    return paths - shown


async def send(
    client: httpx.AsyncClient,
    call: Call,
    names: dict[str, Any],
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    params: dict[str, Any] | None = None,
    project_id: int | None = None,
    between: Callable[[], Awaitable[None]] | None = None,
) -> httpx.Response:
    """The answer to a request for the route, with `names` in its path, and with `project_id`
    wherever its body names a project. With `between` the request is sent in two parts, even if the
    route reads no body, and `between` runs after the first part."""
    path = re.sub(r"\{(\w+)\}", lambda match: str(names[match[1]]), call.path)
    sent = {**call.headers, **(headers or {})}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    content = None
    if call.body is not None:
        body = call.body if project_id is None else about(call.body, project_id)
        content = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    parts = None
    if between is not None:
        parts = _in_two_parts(content or b"unread", between)
    return await client.request(
        call.method, path, content=parts or content, headers=sent, params=params
    )


async def _in_two_parts(
    content: bytes, between: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    yield content[:-1]
    await between()
    yield content[-1:]


def about(body: Any, project_id: int) -> Any:
    """The body with this project id in place of each project id."""
    if isinstance(body, list):
        return [about(item, project_id) for item in body]
    if not isinstance(body, dict):
        return body
    named = {"project_id": project_id, "project_ids": [project_id]}
    return {name: named.get(name) or about(value, project_id) for name, value in body.items()}


def _body(operation: dict[str, Any], schemas: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    shape = content.get("application/json", {}).get("schema")
    return None if shape is None else smallest(shape, schemas)


def _headers(operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, str]:
    return {
        parameter["name"]: str(smallest(parameter["schema"], schemas))
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "header" and parameter.get("required")
    }


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
