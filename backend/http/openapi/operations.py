"""Completes an operation of the OpenAPI document by the policy of its route."""

from typing import Any

from backend.http.bulk_bodies import NDJSON
from backend.http.conditional import Tagging
from backend.http.openapi.components import reference, text_of_many
from backend.http.problems import problem_responses
from backend.http.route_policy import ANY_TOKEN, OPEN, Lines, RoutePolicy

BEARER, SESSION = "bearer", "session"
"""The names of the security schemes."""
_BY_STATUS = {
    "201": ("Location", "Location"),
    "401": ("WWW-Authenticate", "Authenticate"),
    "429": ("Retry-After", "RetryAfter"),
    "503": ("Retry-After", "RetryAfter"),
}
_AT_THE_EDGE = ("bad_request", "uri_too_long", "headers_too_large", "too_many_connections")
"""What a request may get before its route is looked for."""


def complete_operation(
    operation: dict[str, Any],
    method: str,
    policy: RoutePolicy,
    tagging: Tagging,
    schemas: dict[str, Any],
) -> None:
    """Add what the policy says to the operation: parameters, headers, media types, problems."""
    reads = method == "GET"
    _add_conditions(operation, tagging, reads=reads)
    _add_waiting(operation, policy, tagging, reads=reads)
    _add_security(operation, policy)
    if policy.follows:
        _add_stream(operation, schemas)
    if policy.lines is not None:
        _add_lines(operation, policy.lines, schemas)
    responses = operation["responses"]
    _add_codes(responses, *_AT_THE_EDGE)
    if not policy.is_probe:
        _add_codes(responses, "validation_failed")
    if not reads:
        # Bodies are limited and the disk may be full, even on a route that reads no body.
        _add_codes(responses, "body_too_large", "database_full")
    if policy.idempotency(method) is not None:
        _add_idempotency(operation)
    _add_headers(responses)


def share_problems(responses: dict[str, Any], shared: dict[str, Any]) -> None:
    """Store each combination of codes once, because they are most of the document."""
    for status, response in responses.items():
        if "x-codes" in response:
            name = ".".join(response["x-codes"])
            shared[name] = response
            responses[status] = reference("responses", name)


def _add_parameter(operation: dict[str, Any], name: str) -> None:
    operation.setdefault("parameters", []).append(reference("parameters", name))


def _add_conditions(operation: dict[str, Any], tagging: Tagging, *, reads: bool) -> None:
    """Describe the entity tags of the answers, and the preconditions of the request."""
    responses = operation["responses"]
    is_tagged = tagging.is_versioned or tagging.is_content
    if is_tagged:
        for status in responses.keys() & {"200", "201"}:
            responses[status].setdefault("headers", {})["ETag"] = reference("headers", "EntityTag")
        if reads:
            responses["304"] = {
                "description": "The client has this answer already: its `ETag` is the same.",
                "headers": {"ETag": reference("headers", "EntityTag")},
            }
    if tagging.takes_preconditions or (is_tagged and reads):
        _add_parameter(operation, "IfMatch")
        _add_parameter(operation, "IfNoneMatch")
        _add_codes(responses, "version_mismatch")


def _add_waiting(
    operation: dict[str, Any], policy: RoutePolicy, tagging: Tagging, *, reads: bool
) -> None:
    """Describe `Prefer: wait=N`, and the header of the answers."""
    if not policy.claims and not (reads and tagging.has_tag):
        return
    _add_parameter(operation, "WaitForWork" if policy.claims else "WaitForChange")
    for status in operation["responses"].keys() & {"200", "204", "304"}:
        headers = operation["responses"][status].setdefault("headers", {})
        headers["Preference-Applied"] = reference("headers", "PreferenceApplied")


def _add_security(operation: dict[str, Any], policy: RoutePolicy) -> None:
    if policy.scope is OPEN:
        operation["security"] = []
        return
    operation["security"] = [{BEARER: []}, {SESSION: []}]
    if policy.scope is not ANY_TOKEN:
        operation["x-scope"] = policy.scope.value
    if policy.or_scopes:
        operation["x-or-scopes"] = [scope.value for scope in policy.or_scopes]


def _add_idempotency(operation: dict[str, Any]) -> None:
    _add_parameter(operation, "IdempotencyKey")
    responses = operation["responses"]
    _add_codes(responses, "idempotency_in_progress", "idempotency_key_reused", "changed_outside")
    for status, response in responses.items():
        # What has no content is not stored.
        if status < "300" and status != "204":
            headers = response.setdefault("headers", {})
            headers["Idempotency-Replayed"] = reference("headers", "IdempotencyReplayed")
        elif "idempotency_in_progress" in response.get("x-codes", ()):
            headers = response.setdefault("headers", {})
            headers["Retry-After"] = reference("headers", "RetryAfterOthers")


def _add_headers(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        headers["X-Request-ID"] = reference("headers", "RequestId")
        if status in _BY_STATUS and (status < "400" or "x-codes" in response):
            name, component = _BY_STATUS[status]
            headers[name] = reference("headers", component)


def _add_stream(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Tell of the stream that the list becomes with another `Accept`."""
    content = operation["responses"]["200"]["content"]
    page = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    about = (
        "Server-Sent Events: `ready`, `reset`, and events without a name, whose data is an item of "
        "the list as JSON."
    )
    items = _items_of(schemas[page])
    content["text/event-stream"] = {"schema": text_of_many("text/event-stream", items, about)}
    _add_parameter(operation, "LastEventId")
    _add_codes(operation["responses"], "too_many_streams")


def _items_of(page: dict[str, Any]) -> dict[str, Any]:
    """The schema of the items of a page."""
    (items,) = [m["items"] for m in page["properties"].values() if m.get("type") == "array"]
    return dict(items)


def _add_lines(operation: dict[str, Any], lines: Lines, schemas: dict[str, Any]) -> None:
    """Tell of the other forms of the body."""
    body = operation["requestBody"]
    body["description"] = "With `Content-Encoding: gzip` it may be compressed."
    forms = [schemas[form["$ref"].rpartition("/")[2]] for form in _forms_of(body)]
    (many,) = [form for form in forms if lines.member in form["properties"]]
    about = f"One item of `{lines.member}` on each line, {lines.most} at most."
    items = many["properties"][lines.member]["items"]
    body["content"][NDJSON] = {"schema": text_of_many(NDJSON, items, about)}


def _forms_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    schema = body["content"]["application/json"]["schema"]
    forms: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return forms


def _add_codes(responses: dict[str, Any], *codes: str) -> None:
    known = [code for response in responses.values() for code in response.get("x-codes", ())]
    for status, response in problem_responses(list(dict.fromkeys([*known, *codes]))).items():
        present = responses.get(str(status), {})
        # `/ready` answers 503 itself, with its state.
        if not present or "x-codes" in present:
            responses[str(status)] = response
    ordered = sorted(responses.items())
    responses.clear()
    responses.update(ordered)
