"""Completes FastAPI's OpenAPI document with what FastAPI can't find out."""

import json
from typing import Any

from fastapi import FastAPI

from backend.http.problems import problem_responses
from backend.http.route_policy import OPEN, Policies, RoutePolicy
from backend.schemas.problems import Problem

_SCHEME = "bearer"
_DESCRIPTION = """\
One place for the settings and secrets of projects, and for the work of agents on them.

Send `Authorization: Bearer sr_…`. Every error is a problem document (RFC 9457) whose `code` says
what happened; no error repeats what was sent. Fields that only answers have (`id`,
`project_id`, `created_at`, `updated_at`, `version`) are ignored in requests, so that what was read
can be sent back. `PUT` and `PATCH` change the given fields and leave the others. Lists are read
page by page: send `next_cursor` as `cursor`, with the same filters.
"""
_HEADERS: dict[str, dict[str, Any]] = {
    "RequestId": {
        "description": "The request's `X-Request-ID`, or a generated one; the log has it too.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Location": {
        "description": "The path of the new resource, if it has one.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RetryAfter": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
    },
}
_BY_STATUS = {
    "201": ("Location", "Location"),
    "401": ("WWW-Authenticate", "Authenticate"),
    "429": ("Retry-After", "RetryAfter"),
    "503": ("Retry-After", "RetryAfter"),
}


def describe(app: FastAPI, policies: Policies) -> None:
    """Complete the application's OpenAPI document when it is first asked for."""
    app.description = _DESCRIPTION
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _add_problem(document)
            _add_security_scheme(document)
            document["components"]["headers"] = _HEADERS
            shared: dict[str, Any] = document["components"].setdefault("responses", {})
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    policy = policies[method.upper(), path]
                    _complete_operation(operation, policy, reads=method == "get")
                    _share_problems(operation["responses"], shared)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _add_problem(document: dict[str, Any]) -> None:
    schemas = document["components"].setdefault("schemas", {})
    template = "#/components/schemas/{model}"
    schema = Problem.model_json_schema(ref_template=template)
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    # The problem document replaces FastAPI's own error shapes.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def _add_security_scheme(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A token, `sr_…`; the first one is in `admin.token` in the data "
            "directory.",
        }
    }


def _complete_operation(operation: dict[str, Any], policy: RoutePolicy, *, reads: bool) -> None:
    responses = operation["responses"]
    if policy.scope is OPEN:
        operation["security"] = []
    else:
        operation["security"] = [{_SCHEME: []}]
        operation["x-scope"] = policy.scope.value
    if not policy.is_probe:
        _add_codes(responses, "bad_request", "validation_failed")
    if not reads:
        # Bodies are limited and the disk may be full, even on a route that reads no body.
        _add_codes(responses, "body_too_large", "database_full")
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        headers["X-Request-ID"] = _reference("headers", "RequestId")
        if status in _BY_STATUS and (status < "400" or "x-codes" in response):
            name, component = _BY_STATUS[status]
            headers[name] = _reference("headers", component)


def _add_codes(responses: dict[str, Any], *codes: str) -> None:
    known = [code for response in responses.values() for code in response.get("x-codes", ())]
    for status, response in problem_responses(list(dict.fromkeys([*known, *codes]))).items():
        responses[str(status)] = response
    ordered = sorted(responses.items())
    responses.clear()
    responses.update(ordered)


def _share_problems(responses: dict[str, Any], shared: dict[str, Any]) -> None:
    """Store each combination of codes once, because they are most of the document."""
    for status, response in responses.items():
        if "x-codes" in response:
            name = ".".join(response["x-codes"])
            shared[name] = response
            responses[status] = _reference("responses", name)


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def document_text(app: FastAPI) -> str:
    """The document as it is kept under version control."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
