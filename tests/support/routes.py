"""Every route, and requests for it, built from the OpenAPI document.

Routes are found in that document, so that tests cover a new one without a change here.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from backend.http.fast_path.route_table import RouteTable
from backend.main import create_app
from backend.routes import POLICIES
from config.settings import Settings
from tests.support.http import make_project
from tests.support.shapes import about, smallest

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Call:
    """One operation of the document; `str()` names it."""

    method: str
    template: str
    operation: dict[str, Any]
    components: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def scope(self) -> str | None:
        """The scope that it requires; `ANY_TOKEN` when any token will do, and `None` when it needs
        no token."""
        return POLICIES[self.method, self.template].scope

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes of which one is enough."""
        policy = POLICIES[self.method, self.template]
        return frozenset(filter(None, (policy.scope, *policy.or_scopes)))

    @property
    def names(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"\{(\w+)\}", self.template)

    @property
    def takes_body(self) -> bool:
        """Whether it reads a body."""
        return "requestBody" in self.operation

    @cached_property
    def body(self) -> Any:
        """The smallest body that its shape permits; `None` when it reads no JSON."""
        content = self.operation.get("requestBody", {}).get("content", {})
        shape = content.get("application/json", {}).get("schema")
        return None if shape is None else smallest(shape, self.components["schemas"])

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers that it requires."""
        return {
            parameter["name"]: str(smallest(parameter["schema"], self.components["schemas"]))
            for parameter in self.parameters("header")
            if parameter.get("required")
        }

    @cached_property
    def query(self) -> frozenset[str]:
        """The names of its query parameters."""
        return frozenset(parameter["name"] for parameter in self.parameters("query"))

    @property
    def needs_body(self) -> bool:
        """Whether it requires a body."""
        return bool(self.operation.get("requestBody", {}).get("required"))

    @property
    def body_schema(self) -> dict[str, Any]:
        """The schema of the object that it reads."""
        schema = self.operation["requestBody"]["content"]["application/json"]["schema"]
        for option in schema.get("anyOf", [schema]):
            if "$ref" in option:
                return self.resolved(option)
        return self.resolved(schema)

    @property
    def example(self) -> dict[str, Any]:
        """A valid body, from the document's examples."""
        found: dict[str, Any] = self.body_schema["examples"][0]
        return found

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema, with a reference replaced by its target."""
        reference = schema.get("$ref")
        found: dict[str, Any] = (
            self.components["schemas"][reference.rpartition("/")[2]] if reference else schema
        )
        return found

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        """Its possible responses by status, without references."""
        shared = self.components["responses"]
        return {
            status: shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
            for status, response in self.operation["responses"].items()
        }

    def parameters(self, place: str) -> list[dict[str, Any]]:
        """Its parameters in `path`, `query` or `header`."""
        shared = self.components["parameters"]
        parameters = [
            shared[p["$ref"].rpartition("/")[2]] if "$ref" in p else p
            for p in self.operation.get("parameters", [])
        ]
        return [p for p in parameters if p["in"] == place]

    def path(self, **values: object) -> str:
        """The path with these values. By default it names the first resource of each kind, and the
        secret KEY."""
        known: dict[str, object] = {
            **dict.fromkeys(self.names, 1),
            "key": "KEY",
            "owner": "acme",
            "repo": "first",
            **values,
        }
        return self.template.format(**known)


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
def document() -> dict[str, Any]:
    """The OpenAPI document of an application with the default settings."""
    return document_of(create_app(Settings(_env_file=None)))


@cache
def all_calls() -> tuple[Call, ...]:
    """Every route of an application with the default settings."""
    return tuple(calls_of(document()))


def calls(app: FastAPI) -> list[Call]:
    """Every route of the application, in the order of its document."""
    return calls_of(document_of(app))


def calls_of(document: dict[str, Any]) -> list[Call]:
    """Every route of an OpenAPI document, in its order."""
    return [
        Call(method.upper(), template, operation, document["components"])
        for template, operations in document["paths"].items()
        for method, operation in operations.items()
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
    path = re.sub(r"\{(\w+)\}", lambda match: str(names[match[1]]), call.template)
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


async def make_something_of_everything(client: httpx.AsyncClient) -> None:
    """Create the resources that `Call.path` names by default."""
    project = await make_project(
        client,
        github_repo="first",
        settings={"planning_statement": "p"},
        secrets=[{"key": "KEY", "value": "v"}],
    )
    run = await client.post(
        "/api/agent-runs", json={"project_id": project["id"], "target_text": "t"}
    )
    assert (project["id"], run.json()["id"]) == (1, 1)
