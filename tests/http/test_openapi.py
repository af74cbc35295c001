"""The OpenAPI document: complete, correct, and equal to the file in the repository."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema_rs import validator_for

from backend.errors import ERROR_TABLE
from backend.http.openapi.document import document_text
from backend.http.openapi.problem_schemas import problem_name, schema_of
from backend.http.route_policy import ANY_TOKEN, OPEN
from backend.main import create_app
from backend.routes import POLICIES
from backend.schemas.problems import PROBLEMS, Problem
from config.settings import Settings
from models import MAX_INT64
from tests.support.routes import Call, all_calls, document

ROOT = Path(__file__).parent.parent.parent
CALLS = list(all_calls())


def every_call(call: Call) -> str:
    """The call's name, for the names of tests."""
    return str(call)


def test_the_document_is_the_one_that_is_kept(settings: Settings) -> None:
    kept = (ROOT / "openapi.json").read_text(encoding="utf-8")
    assert kept == document_text(create_app(settings)), "run `make schema`"


def test_the_document_does_not_depend_on_the_configuration(settings: Settings) -> None:
    changed = {
        "auth": "off",
        "environment": "production",
        "cors_origins": ("https://a.example",),
        "max_body_bytes": 7,
    }
    assert create_app(settings.model_copy(update=changed)).openapi() == document()


async def test_the_document_is_served(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.get("/openapi.json")).json() == document()


def test_every_call_that_has_a_scope_is_documented_with_it() -> None:
    documented = {(call.method, call.template): call.operation for call in CALLS}
    assert documented.keys() == POLICIES.keys()
    for route, policy in POLICIES.items():
        operation = documented[route]
        either: list[dict[str, list[str]]] = [{"bearer": []}, {"session": []}]
        assert operation["security"] == ([] if policy.scope is OPEN else either)
        assert operation.get("x-scope", ANY_TOKEN) == (policy.scope or ANY_TOKEN)
    schemes = document()["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["session"]["type"], schemes["session"]["in"]) == ("apiKey", "cookie")


@pytest.mark.parametrize("call", [c for c in CALLS if c.takes_body], ids=every_call)
def test_every_body_has_examples_that_fit_its_schema(call: Call) -> None:
    schema = {**call.body_schema, "components": document()["components"]}
    validator = validator_for(
        json.loads(json.dumps(schema).replace("#/components", "#/components"))
    )
    assert call.body_schema["examples"]
    for example in call.body_schema["examples"]:
        validator.validate(example)


@pytest.mark.parametrize("call", CALLS, ids=every_call)
def test_every_call_says_what_it_does_and_answers(call: Call) -> None:
    operation = call.operation
    assert operation["description"].endswith((".", "`"))
    assert operation["tags"]
    for status, response in call.responses.items():
        assert response["headers"]["X-Request-ID"]
        if status < "400":
            continue
        codes = response.get("x-codes")
        if codes is None:
            # The state of the service, which is not an error.
            assert call.template == "/ready"
            continue
        assert len(codes) == len(set(codes))
        for code in codes:
            assert ERROR_TABLE[code][0] == int(status)
            assert f"`{code}`: {ERROR_TABLE[code][1]}" in response["description"]
        (media_type,) = response["content"]
        assert media_type == "application/problem+json"
        assert response["content"][media_type]["schema"] == schema_of(codes)
        waits = status in ("429", "503") or "idempotency_in_progress" in codes
        assert ("Retry-After" in response["headers"]) == waits
        assert ("WWW-Authenticate" in response["headers"]) == (status == "401")


def test_every_error_code_is_documented_somewhere_but_those_of_no_call() -> None:
    documented = {
        code
        for call in CALLS
        for response in call.responses.values()
        for code in response.get("x-codes", ())
    }
    # Errors without a path or a method belong to no call.
    assert set(ERROR_TABLE) - documented == {"not_found", "method_not_allowed"}


def references(value: Any) -> set[str]:
    """Every reference in a part of the document."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(item) for item in value.values()), set())
    if isinstance(value, list):
        return set().union(*(references(item) for item in value), set())
    return set()


def test_every_reference_leads_somewhere_and_every_component_is_referred_to() -> None:
    found = references(document())
    components = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers", "parameters", "responses")
        for name in document()["components"][kind]
    }
    assert found == components


def test_patterns_are_such_that_everybody_reads_alike() -> None:
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(document())))
    assert len(patterns) > 5
    for text in patterns:
        pattern = json.loads(text)
        re.compile(pattern)
        validator_for({"type": "string", "pattern": pattern})
        # Python, Rust and ECMAScript interpret these differently.
        assert not re.search(r"\\[sSwWdDbB]|\\p|\(\?P|\(\?i", pattern), pattern


def test_no_secret_is_ever_described_as_readable() -> None:
    schemas = document()["components"]["schemas"]
    for name in ("SecretCreate", "SecretValue"):
        assert schemas[name]["properties"]["value"]["writeOnly"] is True
    shown = schemas["SecretMetadata"]["properties"]["value"]
    assert (shown["type"], shown["maxLength"]) == (["string", "null"], 0)


@pytest.mark.parametrize("code", ERROR_TABLE)
def test_every_error_code_has_a_schema_of_its_own(code: str) -> None:
    schema = document()["components"]["schemas"][problem_name(code)]
    status, _ = ERROR_TABLE[code]
    members = schema["properties"]
    fixed = {name: members[name].get("const") for name in ("type", "status", "code")}
    assert fixed == {"type": f"/problems/{code}", "status": status, "code": code}
    shape = PROBLEMS.get(code, Problem)
    assert set(members) == set(shape.model_fields)
    assert set(schema["required"]) >= set(Problem.model_fields)


def test_a_problem_is_of_one_code_and_all_are_named() -> None:
    assert PROBLEMS.keys() <= ERROR_TABLE.keys()
    schemas = document()["components"]["schemas"]
    assert document()["x-problem"] == {"$ref": "#/components/schemas/Problem"}
    mapping = schemas["Problem"]["discriminator"]["mapping"]
    assert list(mapping) == list(ERROR_TABLE)
    assert [one["$ref"] for one in schemas["Problem"]["oneOf"]] == list(mapping.values())


def test_operation_ids_are_verbs_and_what_they_are_about() -> None:
    ids = [call.operation["operationId"] for call in CALLS]
    assert {"getProject", "createAgentRun", "listProjects", "patchWebhook"} <= set(ids)
    assert len(ids) == len(set(ids))
    for one in ids:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", one), f"{one}: name the endpoint verb_noun"
    # Only a GET has the name of a read.
    for call in CALLS:
        verb = re.split("[A-Z]", call.operation["operationId"])[0]
        if call.method == "GET":
            assert verb in ("get", "list", "reveal", "diff", "export"), str(call)
        else:
            assert verb not in ("get", "list"), str(call)


def test_every_tag_is_described() -> None:
    described = {tag["name"]: tag["description"] for tag in document()["tags"]}
    used = {tag for call in CALLS for tag in call.operation["tags"]}
    assert described.keys() == used, "say `about=` in one router of the tag"
    assert all(about.endswith(".") for about in described.values())


def test_the_document_says_where_the_service_is_and_under_which_terms() -> None:
    info = document()["info"]
    assert info["license"] == {"name": "MIT", "identifier": "MIT"}
    assert info["contact"]["name"]
    assert [server["url"] for server in document()["servers"]] == ["/"]


def schemas_in(part: Any) -> set[str]:
    """The names of all schemas that a part of the document leads to."""
    schemas = document()["components"]["schemas"]
    found: set[str] = set()
    new = {one.rpartition("/")[2] for one in references(part) if "/schemas/" in one}
    while new:
        found |= new
        inner = set().union(*(references(schemas[name]) for name in new))
        new = {one.rpartition("/")[2] for one in inner} - found
    return found


SENT = schemas_in([call.operation.get("requestBody") for call in CALLS])
ANSWERED = schemas_in(
    [answer for call in CALLS for status, answer in call.responses.items() if status < "400"]
)
MAY_BE_ABSENT = {
    "Readiness": {"log_words", "project_index", "run_index"},
    "ListedProject": {"runs"},
}
"""Members of answers that are there only at times, or if they are asked for."""


def test_what_has_a_default_is_optional_in_a_request() -> None:
    schemas = document()["components"]["schemas"]
    assert "ProjectCreate" in SENT
    for name in SENT:
        for member, schema in schemas[name].get("properties", {}).items():
            # Generators take a member with a default for one that is always there.
            assert "default" not in schema, f"{name}.{member}"
    create = schemas["ProjectCreate"]
    assert create["required"] == ["name", "github_owner", "github_repo"]
    assert create["properties"]["status"]["description"] == 'By default `"active"`.'


def test_every_member_of_an_answer_is_there_unless_it_is_known_to_be_absent() -> None:
    schemas = document()["components"]["schemas"]
    assert "Project" in ANSWERED
    for name in ANSWERED:
        members = schemas[name].get("properties", {}).keys()
        for member in members:
            only = schemas[name]["properties"][member].get("type")
            assert only != "null", f"{name}.{member}: openapi-fetch leaves out what is only null"
        absent = members - set(schemas[name].get("required", ()))
        assert absent == MAY_BE_ABSENT.get(name, set()), (
            f"{name}: let the model's config have json_schema_serialization_defaults_required, "
            "or add what may be absent to MAY_BE_ABSENT"
        )


def test_no_schema_is_used_for_requests_and_answers_but_those_of_values() -> None:
    schemas = document()["components"]["schemas"]
    assert [name for name in SENT & ANSWERED if schemas[name].get("type") != "string"] == []


def test_every_object_says_what_it_may_have() -> None:
    # Without both, openapi-typescript makes an object that has no members.
    found = re.findall(r'\{[^{}]*"type": "object"[^{}]*\}', json.dumps(document()))
    assert found
    for text in found:
        assert '"additionalProperties": true' in text, text


def integers(part: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an integer in a part of the document."""
    if isinstance(part, dict):
        if part.get("type") == "integer":
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from integers(item)


def test_integers_have_a_size_and_integral_bounds() -> None:
    found = list(integers(document()))
    assert len(found) > 100
    for schema in found:
        assert "const" in schema or schema["format"] in ("int32", "int64")
        for bound in ("minimum", "maximum"):
            assert type(schema.get(bound, 0)) is int
            assert schema.get(bound, 0) <= MAX_INT64


def test_streams_and_lines_are_texts_whose_items_are_described() -> None:
    found = {}
    for call in CALLS:
        parts = [call.operation.get("requestBody", {}), call.responses.get("200", {})]
        for part in parts:
            for media_type, content in part.get("content", {}).items():
                if media_type in ("application/x-ndjson", "text/event-stream"):
                    schema = content["schema"]
                    assert schema["type"] == "string"
                    assert schema["contentMediaType"] == media_type
                    (item,) = references(schema["contentSchema"])
                    found[str(call), media_type] = item.rpartition("/")[2]
    assert found["POST /api/logs", "application/x-ndjson"] == "LogEntry"
    assert found["GET /api/logs", "text/event-stream"] == "SystemLog"
    assert found["GET /api/events", "text/event-stream"] == "Event"
    assert found["GET /api/audit/export", "application/x-ndjson"] == "ExportedAuditEntry"
    for call in CALLS:
        if POLICIES[call.method, call.template].follows:
            assert (str(call), "text/event-stream") in found
        if POLICIES[call.method, call.template].lines is not None:
            assert (str(call), "application/x-ndjson") in found
        if POLICIES[call.method, call.template].is_streamed:
            assert (str(call), "application/x-ndjson") in found
