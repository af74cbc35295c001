"""Completes FastAPI's OpenAPI document with what FastAPI can't find out."""

import json
from typing import Any

from fastapi import FastAPI

from backend.http.bulk_bodies import NDJSON
from backend.http.conditional import Tagging
from backend.http.guarded_route import GuardedRoute
from backend.http.problems import SHAPES, problem_responses
from backend.http.route_policy import ANY_TOKEN, OPEN, Lines, Policies, RoutePolicy
from backend.http.sessions import SECURITY_SCHEME
from backend.schemas.problems import Problem
from backend.services.idempotency.idempotency import MAX_KEY_LENGTH

_SCHEME, _SESSION = "bearer", "session"
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
    "EntityTag": {
        "description": "The entity tag: of a resource by its version, of a list by its content.",
        "required": True,
        "schema": {"type": "string", "pattern": '^(?:W/)?"[!#-~]*"$', "examples": ['"v3"']},
    },
    "RetryAfterOthers": {
        "description": "With `idempotency_in_progress`: seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "PreferenceApplied": {
        "description": "How long the server was ready to wait, if it took account of "
        "`Prefer: wait=N`; only then present.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$", "examples": ["wait=30"]},
    },
    "IdempotencyReplayed": {
        "description": "Whether the answer is that of an earlier request with the same "
        "`Idempotency-Key`; only then present.",
        "schema": {"const": "true"},
    },
    "Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
    },
}
_TAGS_PATTERN = '^(?:[*]|(?:W/)?"[!#-~]*"(?:[ \\t]*,[ \\t]*(?:W/)?"[!#-~]*")*)$'
_PARAMETERS: dict[str, dict[str, Any]] = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Do it only while the `ETag` is one of these, else 412: no other change is "
        "lost. `*` stands for any.",
        "schema": {"type": "string", "pattern": _TAGS_PATTERN, "examples": ['"v3"']},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "A read gets 304 without a body while the `ETag` is one of these. A change "
        "gets 412 while it is one of these: with `*` it creates, and never replaces.",
        "schema": {"type": "string", "pattern": _TAGS_PATTERN, "examples": ['"v3"', "*"]},
    },
}
_PREFER = {
    "in": "header",
    "name": "Prefer",
    "required": False,
    # Without a pattern: what the server does not understand is ignored.
    "schema": {"type": "string", "examples": ["wait=30"]},
}
_BY_STATUS = {
    "201": ("Location", "Location"),
    "401": ("WWW-Authenticate", "Authenticate"),
    "429": ("Retry-After", "RetryAfter"),
    "503": ("Retry-After", "RetryAfter"),
}


_IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "description": "A text of your own for this request, such as a random UUID. The same request "
    "with the same key has no second effect within 24 hours: it gets the stored answer.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_LENGTH,
        "pattern": "^[!-~]+$",
    },
}


def describe(app: FastAPI, policies: Policies) -> None:
    """Complete the application's OpenAPI document when it is first asked for."""
    app.description = _DESCRIPTION
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _add_problem(document)
            _add_security_schemes(document)
            document["components"]["headers"] = _HEADERS
            document["components"]["parameters"] = _PARAMETERS
            taggings = {r.key: r.tagging for r in app.routes if isinstance(r, GuardedRoute)}
            shared: dict[str, Any] = document["components"].setdefault("responses", {})
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    key = method.upper(), path
                    policy = policies[key]
                    _add_conditions(operation, taggings[key], reads=method == "get")
                    _add_waiting(operation, policy, taggings[key], reads=method == "get")
                    _complete_operation(operation, policy, reads=method == "get")
                    if policy.idempotency(method.upper()) is not None:
                        _add_idempotency(operation)
                    _add_headers(operation["responses"])
                    _share_problems(operation["responses"], shared)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _add_problem(document: dict[str, Any]) -> None:
    schemas = document["components"].setdefault("schemas", {})
    template = "#/components/schemas/{model}"
    shapes: list[type[Problem]] = [Problem, *SHAPES.values()]
    for shape in shapes:
        schema = shape.model_json_schema(ref_template=template)
        schemas.update(schema.pop("$defs", {}))
        schemas[shape.__name__] = schema
    # The problem document replaces FastAPI's own error shapes.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def _add_security_schemes(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A token, `sr_…`; the first one is in `admin.token` in the data "
            "directory.",
        },
        _SESSION: SECURITY_SCHEME,
    }


def _add_conditions(operation: dict[str, Any], tagging: Tagging, *, reads: bool) -> None:
    """Describe the entity tags of the answers, and the preconditions of the request."""
    responses = operation["responses"]
    is_tagged = tagging.is_versioned or tagging.is_content
    if is_tagged:
        for status in responses.keys() & {"200", "201"}:
            responses[status].setdefault("headers", {})["ETag"] = _reference("headers", "EntityTag")
        if reads:
            responses["304"] = {
                "description": "The client has this answer already: its `ETag` is the same.",
                "headers": {"ETag": _reference("headers", "EntityTag")},
            }
    if tagging.takes_preconditions or (is_tagged and reads):
        parameters = operation.setdefault("parameters", [])
        parameters += [_reference("parameters", name) for name in _PARAMETERS]
        _add_codes(responses, "version_mismatch")


def _add_waiting(
    operation: dict[str, Any], policy: RoutePolicy, tagging: Tagging, *, reads: bool
) -> None:
    """Describe `Prefer: wait=N`, and the header of the answers."""
    if policy.claims:
        why = "`wait=N` waits up to N seconds for a run, 60 at most, before the answer is 204."
    elif reads and tagging.has_tag:
        why = (
            "With `If-None-Match`, `wait=N` waits up to N seconds, 60 at most, for another answer "
            "than the one that you have, before the answer is 304."
        )
    else:
        return
    operation.setdefault("parameters", []).append({**_PREFER, "description": why})
    for status in operation["responses"].keys() & {"200", "204", "304"}:
        headers = operation["responses"][status].setdefault("headers", {})
        headers["Preference-Applied"] = _reference("headers", "PreferenceApplied")


def _complete_operation(operation: dict[str, Any], policy: RoutePolicy, *, reads: bool) -> None:
    responses = operation["responses"]
    if policy.scope is OPEN:
        operation["security"] = []
    else:
        operation["security"] = [{_SCHEME: []}, {_SESSION: []}]
        if policy.scope is not ANY_TOKEN:
            operation["x-scope"] = policy.scope.value
        if policy.or_scopes:
            operation["x-or-scopes"] = [scope.value for scope in policy.or_scopes]
    if policy.follows:
        _add_stream(operation)
    if policy.lines is not None:
        _add_lines(operation, policy.lines)
    if not policy.is_probe:
        _add_codes(responses, "bad_request", "validation_failed")
    if not reads:
        # Bodies are limited and the disk may be full, even on a route that reads no body.
        _add_codes(responses, "body_too_large", "database_full")


def _add_idempotency(operation: dict[str, Any]) -> None:
    operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    responses = operation["responses"]
    _add_codes(responses, "idempotency_in_progress", "idempotency_key_reused", "changed_outside")
    for status, response in responses.items():
        # What has no content is not stored.
        if status < "300" and status != "204":
            headers = response.setdefault("headers", {})
            headers["Idempotency-Replayed"] = _reference("headers", "IdempotencyReplayed")
        elif "idempotency_in_progress" in response.get("x-codes", ()):
            headers = response.setdefault("headers", {})
            headers["Retry-After"] = _reference("headers", "RetryAfterOthers")


def _add_headers(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        headers["X-Request-ID"] = _reference("headers", "RequestId")
        if status in _BY_STATUS and (status < "400" or "x-codes" in response):
            name, component = _BY_STATUS[status]
            headers[name] = _reference("headers", component)


def _add_stream(operation: dict[str, Any]) -> None:
    """Tell of the stream that the list becomes with another `Accept`."""
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    operation.setdefault("parameters", []).append(
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "Only with `Accept: text/event-stream`: go on after this id.",
            # Without a pattern: a list ignores it.
            "schema": {"type": "string"},
        }
    )
    _add_codes(operation["responses"], "too_many_streams")


def _add_lines(operation: dict[str, Any], lines: Lines) -> None:
    """Tell of the other forms of the body."""
    body = operation["requestBody"]
    body["description"] = "With `Content-Encoding: gzip` it may be compressed."
    body["content"][NDJSON] = {
        "schema": {
            "type": "string",
            "description": f"One item of `{lines.member}` on each line, {lines.most} at most.",
        }
    }


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
