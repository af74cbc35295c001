"""The OpenAPI document: complete, correct, and equal to the file in the repository."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema_rs import validator_for

from backend.errors import ERROR_TABLE
from backend.http.openapi import document_text
from backend.http.problems import SHAPES
from backend.http.route_policy import ANY_TOKEN, OPEN
from backend.main import create_app
from backend.routes import POLICIES
from backend.schemas.problems import Problem
from config.settings import Settings
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
        schema = response["content"][media_type]["schema"]
        shapes = {SHAPES.get(code, Problem).__name__ for code in codes}
        shape = shapes.pop() if len(shapes) == 1 else "Problem"
        assert schema == {"$ref": f"#/components/schemas/{shape}"}
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
    # Errors without a path, a method or a request belong to no call.
    of_no_call = {"not_found", "method_not_allowed", "headers_too_large", "too_many_connections"}
    of_no_call.add("uri_too_long")
    assert set(ERROR_TABLE) - documented == of_no_call


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
    assert schemas["SecretMetadata"]["properties"]["value"]["type"] == "null"


def test_a_problem_is_described_as_it_is() -> None:
    schema = document()["components"]["schemas"]["Problem"]
    assert set(schema["required"]) == {"type", "title", "status", "detail", "code", "request_id"}
    assert set(schema["properties"]) == set(Problem.model_fields)
    assert schema["properties"]["errors"]["type"] == "array"
