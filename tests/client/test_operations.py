"""Every call of the service has a method, with a keyword for all that the call takes."""

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from strongroom import AsyncClient
from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.streams import Stream

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi.json").read_text(encoding="utf-8"))
SAME = {
    "createProjectAgentRun": "the other one takes the project in its body",
    "getRoot": "the same as /health",
    "listProjectAgentRuns": "the other one takes the project in its query",
    "putConfiguration": "PATCH does the same",
    "putProject": "PATCH does the same",
}
"""Calls that have no method of their own, since that of another call does the same."""
LEFT_OUT = {("patchAgentRun", "status"): "it can't be changed there"}
"""Fields without a keyword."""
WITHOUT_KEY = {"scanSecrets": "it changes nothing"}
"""Calls that are sent again without an `Idempotency-Key`."""
SPECIAL: Mapping[str, Any] = {
    "if_match": 3,
    "idempotency_key": "a-key",
    "wait": 5.0,
    "keys": ["KEY"],
    "secrets": {"KEY": "value"},
    "logs": [{"message": "m"}],
    "test_results": [{"test_name": "t"}],
    "payload": b"{}",
    "settings": {"repository_rules": "r"},
    "metadata": {"a": 1},
}


@dataclass(frozen=True)
class Operation:
    """A call in the document."""

    verb: str
    path: str
    content: Mapping[str, Any]

    @property
    def parameters(self) -> Iterator[Mapping[str, Any]]:
        for parameter in self.content.get("parameters", []):
            yield _resolved(parameter)

    def named(self, place: str) -> set[str]:
        """The names of the parameters in this place."""
        return {one["name"] for one in self.parameters if one["in"] == place}

    def fields(self) -> set[str]:
        """The names of what a body in JSON may have."""
        content = self.content.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        return {
            name
            for shape in map(_resolved, schema.get("anyOf", [schema]))
            for name, field in shape.get("properties", {}).items()
            if not field.get("readOnly")
        }


def _resolved(value: Mapping[str, Any]) -> Mapping[str, Any]:
    found = value
    if "$ref" in value:
        found = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
    return found


OPERATIONS = {
    content["operationId"]: Operation(verb.upper(), path, content)
    for path, verbs in DOCUMENT["paths"].items()
    for verb, content in verbs.items()
}


class Seen(Exception):
    """The request that was about to be sent."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request


def _refuse(request: httpx.Request) -> httpx.Response:
    raise Seen(request)


@pytest.fixture
def client() -> AsyncClient:
    """A client whose requests are seen instead of sent."""
    return AsyncClient("http://service.test", "sr_x", transport=httpx.MockTransport(_refuse))


def _methods(client: AsyncClient) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    for resource in vars(client).values():
        if isinstance(resource, Resource):
            for _, method in inspect.getmembers(resource, inspect.ismethod):
                if hasattr(method, "operations"):
                    yield method.operations, method


@cache
def _value(name: str, annotation: str, verb: str) -> Any:
    if name == "if_none_match":
        return 3 if verb == "GET" else "*"
    if name in SPECIAL:
        return SPECIAL[name]
    if "bool" in annotation:
        return True
    return 7 if annotation.startswith("int") else "text"


async def _request(method: Callable[..., Any], verb: str) -> httpx.Request:
    """What the method sends when it is given everything that it takes."""
    given: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in inspect.signature(method).parameters.values():
        value = _value(parameter.name, str(parameter.annotation), verb)
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            given.append(value)
    with pytest.raises(Seen) as seen:
        await _sent(method(*given, **named))
    return seen.value.request


async def _sent(called: Any) -> None:
    if isinstance(called, Pages):
        await called.page(if_none_match='"3"', wait=5)
    elif isinstance(called, Stream) or inspect.isasyncgen(called):
        await anext(called)
    else:
        await called


def _body(request: httpx.Request) -> set[str]:
    with contextlib.suppress(ValueError):
        body = json.loads(request.content)
        return set(body) if isinstance(body, dict) else set()
    return set()


def test_every_call_has_a_method(client: AsyncClient) -> None:
    found = [name for names, _ in _methods(client) for name in names]
    assert set(found) == set(OPERATIONS)
    others = {name for names, _ in _methods(client) for name in names[1:]}
    assert others == set(SAME)


async def test_a_method_makes_its_call_with_all_that_the_call_takes(client: AsyncClient) -> None:
    queries: dict[str, set[str]] = {}
    bodies: dict[str, set[str]] = {}
    headers: dict[str, set[str]] = {}
    for names, method in _methods(client):
        operation = OPERATIONS[names[0]]
        request = await _request(method, operation.verb)
        assert request.method == operation.verb
        pattern = re.sub(r"\{\w+\}", "(7|text)", operation.path)
        assert re.fullmatch(pattern, request.url.path), (names, request.url)
        for name in names:
            queries.setdefault(name, set()).update(request.url.params.keys())
            bodies.setdefault(name, set()).update(_body(request))
            headers.setdefault(name, set()).update(key.lower() for key in request.headers)
        if "Idempotency-Key" in operation.named("header") and names[0] not in WITHOUT_KEY:
            assert request.headers.get("idempotency-key") == "a-key", names
    missing = {
        f"{name}: {kind} {missed}"
        for name, operation in OPERATIONS.items()
        for kind, there, sent in (
            ("query", operation.named("query"), queries[name]),
            ("field", operation.fields(), bodies[name]),
            ("header", _expected_headers(operation), headers[name]),
        )
        for missed in there - sent
        if (name, missed) not in LEFT_OUT
    }
    assert missing == set()


def _expected_headers(operation: Operation) -> set[str]:
    names = operation.named("header")
    if operation.verb == "GET":
        # It would only make a read fail.
        names -= {"If-Match"}
    elif operation.content["operationId"] != "putSecret":
        # Of what changes, only this one creates.
        names -= {"If-None-Match"}
    if operation.content["operationId"] in WITHOUT_KEY:
        names -= {"Idempotency-Key"}
    # Only a stream that was cut off sends it.
    return {name.lower() for name in names - {"Last-Event-ID"}}


def test_exceptions_are_needed() -> None:
    for name, field in LEFT_OUT:
        assert field in OPERATIONS[name].fields()


async def test_all_resources_are_there(client: AsyncClient) -> None:
    names = {name for name, value in vars(client).items() if isinstance(value, Resource)}
    assert names >= {
        "agent_runs",
        "audit",
        "backups",
        "configuration",
        "events",
        "keys",
        "logs",
        "messages",
        "pipeline_states",
        "projects",
        "secrets",
        "snapshots",
        "system",
        "test_results",
        "tokens",
        "webhooks",
    }
