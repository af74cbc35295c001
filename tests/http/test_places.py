"""Errors in a body name the place, whatever the error is; in a batch they name the index.

The calls that take a batch are found in the OpenAPI document.
"""

import copy
import json
from typing import Any

import httpx
import pytest

from backend.http.json_places import MAX_TOKENS
from tests.support.http import JSON, make_project, places, problem
from tests.support.routes import Call, all_calls, make_something_of_everything

ITEMS: dict[str, Any] = {
    "logs": {"level": "INFO", "message": "it happened"},
    "test_results": {"test_type": "unit", "test_name": "t", "status": "passed"},
    "secrets": {"key": "K", "value": "v"},
}
"""A valid item for each list of objects."""
BAD_TEXTS = {
    '"cut \\ud83d"': "unpaired_surrogate",
    '"\\udc00 \\ud83d"': "unpaired_surrogate",
    "NaN": "not_a_number",
    "-Infinity": "not_a_number",
    "1" * 5000: "number_too_long",
    "[" * 5000 + "]" * 5000: "json_depth",
    '{"a": 1, "a": 2}': "repeated_key",
    "{'a': 1}": "not_json",
    '"\x01"': "not_json",
}
"""Texts that are not valid JSON, with the code of the error."""


pytestmark = pytest.mark.shared


@pytest.fixture(autouse=True, scope="module")
async def something(shared_client: httpx.AsyncClient) -> None:
    """Create one of everything."""
    await make_something_of_everything(shared_client)


def shapes(call: Call) -> list[dict[str, Any]]:
    """The shapes of the objects that the call accepts."""
    schema = call.operation["requestBody"]["content"]["application/json"]["schema"]
    options = [call.resolved(option) for option in schema.get("anyOf", [schema])]
    return [option for option in map(call.resolved, options) if "properties" in option]


def batches() -> list[tuple[Call, dict[str, Any], str, dict[str, Any]]]:
    """Each call that takes a list of objects, with a body that is valid except for the list, the
    list's name, and the properties of an item."""
    found = []
    for call in all_calls():
        if not call.takes_body:
            continue
        for shape in shapes(call):
            for name, member in shape["properties"].items():
                item = call.resolved(member.get("items", {}))
                if "properties" in item:
                    required = set(shape.get("required", ())) - {name}
                    body = {key: call.example[key] for key in sorted(required)}
                    # The others are ignored, whatever they are.
                    own = {k: p for k, p in item["properties"].items() if not p.get("readOnly")}
                    found.append((call, body, name, own))
    return found


def items(name: str, count: int) -> list[dict[str, Any]]:
    """Valid items, all different."""
    made = [copy.deepcopy(ITEMS[name]) for _ in range(count)]
    for number, item in enumerate(made):
        if name == "secrets":
            item["key"] += str(number)
    return made


def test_the_calls_that_take_batches_are_known() -> None:
    assert {str(call) for call, *_ in batches()} == {
        "POST /api/projects",
        "PUT /api/projects/{project_id}/secrets",
        "POST /api/agent-runs/{run_id}/test-results",
        "POST /api/logs",
    }
    assert {name for *_, name, _ in batches()} == ITEMS.keys()


async def test_each_wrong_member_of_an_item_is_named(client: httpx.AsyncClient) -> None:
    for call, body, name, members in batches():
        for member in (*members, "unknown_member"):
            wrong = items(name, 4)
            wrong[2][member] = {"": [2**70]} if member not in ("context", "result_data") else [1]
            answer = await client.request(call.method, call.path(), json={**body, name: wrong})
            found = places(answer)
            assert found, (call, member)
            assert all(place.startswith(f"/{name}/2/{member}") for place in found), (call, found)


async def test_what_is_no_json_is_named_in_batches(client: httpx.AsyncClient) -> None:
    for call, body, name, members in batches():
        for text, code in BAD_TEXTS.items():
            for member in members:
                wrong = items(name, 4)
                wrong[2][member] = "PLACE"
                content = json.dumps({**body, name: wrong}).replace('"PLACE"', text)
                answer = await client.request(
                    call.method, call.path(), content=content.encode(), headers=JSON
                )
                [error] = problem(answer, "malformed_json")["errors"]
                assert error["code"] == code, (call, text[:20])
                assert error["pointer"].startswith(f"/{name}/2/{member}"), (call, error)
                assert error["pointer"] in problem(answer, "malformed_json")["detail"]


@pytest.mark.parametrize("text", BAD_TEXTS)
async def test_what_is_no_json_is_named_in_a_batch_of_long_logs(
    client: httpx.AsyncClient, text: str
) -> None:
    logs = items("logs", 1000)
    for log in logs:
        log["context"] = {f"key_{n}": [{"é": f"\U0001f600 {n}"}] for n in range(15)}
    logs[990]["context"]["cut"] = "PLACE"
    content = json.dumps({"logs": logs}).replace('"PLACE"', text)
    answer = await client.post("/api/logs", content=content.encode(), headers=JSON)
    [error] = problem(answer, "malformed_json")["errors"]
    assert (error["pointer"], error["code"]) == ("/logs/990/context", BAD_TEXTS[text])


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ('"\\ud83d"', "NaN", "not_a_number"),
        ('"\\ud83d"', "tru", "not_json"),
        ('{"a": "\\ud83d"}', '{"a": 1, "a": 2}', "repeated_key"),
        ('{"a": "\\ud83d", "b": "\\ud83d"}', "1" * 5000, "number_too_long"),
        ("[" * 300 + "]" * 300, '"\\ud83d"', "unpaired_surrogate"),
    ],
)
async def test_the_place_is_that_of_what_is_told(
    client: httpx.AsyncClient, first: str, second: str, code: str
) -> None:
    content = f'{{"logs": [{{"context": {first}}}, {{"context": {second}}}]}}'
    answer = await client.post("/api/logs", content=content, headers=JSON)
    [error] = problem(answer, "malformed_json")["errors"]
    assert (error["pointer"], error["code"]) == ("/logs/1/context", code)


async def test_what_is_no_json_is_named_in_every_body(client: httpx.AsyncClient) -> None:
    tried = 0
    for call in all_calls():
        for shape in shapes(call) if call.takes_body else ():
            for member in shape["properties"]:
                content = f'{{"version": 1, "{member}": "\\ud800"}}'
                answer = await client.request(
                    call.method, call.path(), content=content, headers=JSON
                )
                if call.template.endswith("/deliveries/github"):
                    continue
                [error] = problem(answer, "malformed_json")["errors"]
                assert error["pointer"] == f"/{member}", call
                tried += 1
    assert tried > 60


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'"\\ud800"', ""),
        (b"", None),
        (b'{"name": "a', "/name"),
        (b'{"name": "a", "name": "b"}', "/name"),
        (b'{"settings": {"branch_name": "x", "branch_name": "y"}}', "/settings/branch_name"),
        (b'{"name": "\xff"}', "/name"),
        (b'{"webhook_url": "C:\\dir", "name": "M\xfcller"}', "/name"),
        (b'{"webhook_url": "\\ud83", "\\x": NaN, "name": "M\xfcller"}', "/name"),
        # An unknown name may be anything, even a secret in the wrong place.
        (b'{"hunter2": NaN}', ""),
        (b'{"hunter2\\ud800": 1}', ""),
        (b'{"hunter2": 1, "hunter2": 2}', ""),
        (b'{"settings": {"hunter2": {"name": NaN}}}', "/settings"),
        (b'[1, {"name": ["\\"", NaN]}]', "/1/name/1"),
        (b'[["]", "\\\\"], "[{", NaN]', "/2"),
        (b"]", ""),
        (b"{}}", ""),
        (b'{"name": tru}', "/name"),
        (b"[" + b"[]," * MAX_TOKENS + b"NaN]", None),
        (b'[[[]], {}, [{"name": []}, {}], [{}, {"name": [NaN]}]]', "/3/1/name/0"),
        (b'{"a": [{}, {"b": 1}, [2]], "name": [[], {"id": "\\ud83d"}]}', "/name/1/id"),
        (b'[{"name": 1}, {"name": 1', "/1/name"),
        (b'[{"name": 1} {"name": 1}]', "/0"),
    ],
)  # fmt: skip
async def test_places(client: httpx.AsyncClient, body: bytes, place: str | None) -> None:
    answer = await client.post("/api/projects", content=body, headers=JSON)
    document = problem(answer, "malformed_json")
    assert [error["pointer"] for error in document.get("errors", [])] == (
        [] if place is None else [place]
    )
    assert "hunter2" not in answer.text


async def test_a_log_of_a_run_that_is_gone_is_named(client: httpx.AsyncClient) -> None:
    logs = items("logs", 1000)
    logs[700]["agent_run_id"] = 99
    logs[800]["agent_run_id"] = 98
    answer = await client.post("/api/logs", json={"logs": logs})
    errors = problem(answer, "agent_run_not_found")["errors"]
    assert [error["pointer"] for error in errors] == [
        *("/logs/700/agent_run_id", "/logs/800/agent_run_id"),
    ]
    assert {error["code"] for error in errors} == {"agent_run_not_found"}
    answer = await client.post("/api/logs", json=logs[700])
    assert [e["pointer"] for e in problem(answer, "agent_run_not_found")["errors"]] == [
        "/agent_run_id"
    ]
    other = await make_project(client)
    answer = await client.post(
        "/api/logs", json={"logs": [{**logs[0], "agent_run_id": 1, "project_id": other["id"]}]}
    )
    assert [e["pointer"] for e in problem(answer, "agent_run_not_found")["errors"]] == [
        "/logs/0/agent_run_id"
    ]
    assert (await client.get("/api/logs")).json()["logs"] == []


async def test_a_log_of_a_project_that_is_gone_is_named(client: httpx.AsyncClient) -> None:
    logs = items("logs", 10)
    logs[7]["project_id"] = 99
    answer = await client.post("/api/logs", json={"logs": logs})
    assert [e["pointer"] for e in problem(answer, "project_not_found")["errors"]] == [
        "/logs/7/project_id"
    ]
    answer = await client.post("/api/logs", json=logs[7])
    assert [e["pointer"] for e in problem(answer, "project_not_found")["errors"]] == ["/project_id"]


async def test_a_log_that_must_name_a_project_is_named(client: httpx.AsyncClient) -> None:
    body = {"name": "bound", "scopes": ["logs:write"], "project_ids": [1]}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    logs = items("logs", 4)
    for number in (0, 1, 3):
        logs[number]["project_id"] = 1
    headers = {"Authorization": f"Bearer {token}"}
    answer = await client.post("/api/logs", json={"logs": logs}, headers=headers)
    assert places(answer) == ["/logs/2/project_id"]
    answer = await client.post("/api/logs", json=logs[2], headers=headers)
    assert places(answer) == ["/project_id"]


async def test_a_run_of_a_project_that_is_gone_names_it(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/agent-runs", json={"project_id": 99, "target_text": "t"})
    [error] = problem(answer, "project_not_found")["errors"]
    assert error["pointer"] == "/project_id"


async def test_a_key_that_comes_twice_is_named(client: httpx.AsyncClient) -> None:
    for call, body, name, _ in batches():
        if name == "secrets":
            twice = items(name, 4)
            twice[3]["key"] = twice[1]["key"]
            answer = await client.request(call.method, call.path(), json={**body, name: twice})
            assert places(answer) == ["/secrets/3/key"]
