"""The headers and parameters that many operations of the OpenAPI document share."""

from typing import Any, Final

from backend.services.idempotency.idempotency import MAX_KEY_LENGTH

HEADERS: Final[dict[str, dict[str, Any]]] = {
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
        "schema": {"type": "string", "const": "true"},
    },
    "Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""Headers of answers, by the name of their component."""

_TAGS_PATTERN = '^(?:[*]|(?:W/)?"[!#-~]*"(?:[ \\t]*,[ \\t]*(?:W/)?"[!#-~]*")*)$'
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
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
    "WaitForChange": {
        "name": "Prefer",
        "in": "header",
        "description": "With `If-None-Match`, `wait=N` waits up to N seconds, 60 at most, for "
        "another answer than the one that you have, before the answer is 304.",
        # Without a pattern: what the server does not understand is ignored.
        "schema": {"type": "string", "examples": ["wait=30"]},
    },
    "WaitForWork": {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N` waits up to N seconds for a run, 60 at most, before the answer "
        "is 204.",
        "schema": {"type": "string", "examples": ["wait=30"]},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A text of your own for this request, such as a random UUID. The same "
        "request with the same key has no second effect within 24 hours: it gets the stored "
        "answer.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY_LENGTH,
            "pattern": "^[!-~]+$",
        },
    },
    "LastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Only with `Accept: text/event-stream`: go on after this id.",
        # Without a pattern: a list ignores it.
        "schema": {"type": "string"},
    },
}
"""Parameters of requests, by the name of their component."""


def reference(kind: str, name: str) -> dict[str, str]:
    """A reference to the component of this kind (`headers`, `schemas`, …) and name."""
    return {"$ref": f"#/components/{kind}/{name}"}


def text_of_many(media_type: str, items: dict[str, Any], about: str) -> dict[str, Any]:
    """The schema of a text of this type that has one value after another, all of one schema."""
    return {
        "type": "string",
        "description": about,
        "contentMediaType": media_type,
        "contentSchema": {"type": "array", "items": items},
    }
