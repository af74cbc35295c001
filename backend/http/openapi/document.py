"""Completes FastAPI's OpenAPI document with what FastAPI can't find out."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from backend.http.guarded_route import GuardedRoute
from backend.http.openapi.cleaned import clean, clean_schemas
from backend.http.openapi.components import HEADERS, PARAMETERS, reference
from backend.http.openapi.operations import BEARER, SESSION, complete_operation, share_problems
from backend.http.openapi.problem_schemas import ANY_PROBLEM, problem_schemas
from backend.http.route_policy import Policies
from backend.http.sessions import SECURITY_SCHEME
from backend.schemas.audit import ExportedAuditEntry

_DESCRIPTION = """\
One place for the settings and secrets of projects, and for the work of agents on them.

Send `Authorization: Bearer sr_…`, or from a browser the cookie of a session. Every error is a
problem document (RFC 9457) whose `code` says what happened; no error repeats what was sent. Fields
that only answers have (`id`, `project_id`, `created_at`, `updated_at`, `version`) are ignored in
requests, so that what was read can be sent back. `PUT` and `PATCH` change the given fields and
leave the others. Lists are read page by page: send `next_cursor` as `cursor`, with the same
filters. A resource with a `version` has it as its `ETag`: send it back as `If-Match` to change only
what you have seen, and as `If-None-Match` to ask whether something has changed; with
`Prefer: wait=30` the answer comes as soon as something has.
"""
_INFO = {
    "contact": {"name": "Strongroom contributors"},
    "license": {"name": "MIT", "identifier": "MIT"},
}
_SERVERS = [{"url": "/", "description": "The server that this document comes from."}]
_ITEMS = (ExportedAuditEntry,)
"""The items of streams and lines that no JSON answer has."""


def describe(app: FastAPI, policies: Policies, tags: Mapping[str, str]) -> None:
    """Complete the application's OpenAPI document when it is first asked for. `tags` says what the
    routes of each tag are about."""
    app.description = _DESCRIPTION
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(generate(), app, policies, tags)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _completed(
    document: dict[str, Any], app: FastAPI, policies: Policies, tags: Mapping[str, str]
) -> dict[str, Any]:
    document["info"] |= _INFO
    document["servers"] = _SERVERS
    document["tags"] = [{"name": name, "description": about} for name, about in tags.items()]
    components: dict[str, Any] = document["components"]
    schemas = components.setdefault("schemas", {})
    _add_schemas(schemas)
    components["securitySchemes"] = _SECURITY_SCHEMES
    components["headers"] = deepcopy(HEADERS)
    components["parameters"] = PARAMETERS
    shared: dict[str, Any] = components.setdefault("responses", {})
    routes = {route.key: route for route in app.routes if isinstance(route, GuardedRoute)}
    for path, operations in document["paths"].items():
        for name, operation in operations.items():
            method = name.upper()
            route = routes[method, path]
            operation["operationId"] = operation_id(route.name)
            complete_operation(
                operation, method, policies[method, path], route.tagging, schemas=schemas
            )
            share_problems(operation["responses"], shared)
    clean_schemas(schemas)
    clean(components)
    clean(document["paths"])
    # Which codes there are, also those that no operation answers with.
    document["x-problem"] = reference("schemas", ANY_PROBLEM)
    return document


def operation_id(name: str) -> str:
    """The operation's id, from the name of its endpoint: `createAgentRun` of
    `create_agent_run`."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _add_schemas(schemas: dict[str, Any]) -> None:
    # Problem documents replace FastAPI's own error shapes.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(problem_schemas())
    for item in _ITEMS:
        template = "#/components/schemas/{model}"
        schema = item.model_json_schema(mode="serialization", ref_template=template)
        schemas.update(schema.pop("$defs", {}))
        schemas[item.__name__] = schema


_SECURITY_SCHEMES = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token, `sr_…`; the first one is in `admin.token` in the data directory.",
    },
    SESSION: SECURITY_SCHEME,
}


def document_text(app: FastAPI) -> str:
    """The document as it is kept under version control."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
