"""A client's JSON object has the same text in every answer."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.schemas.base import RequestModel
from tests.http.test_json_numbers import KEPT_NUMBERS
from tests.support.api import Api
from tests.support.http import JSON
from tests.support.json_objects import VALUES, same

JSON_FIELDS = {
    ("AgentRunCreate", "metadata"),
    ("ProjectRunCreate", "metadata"),
    ("AgentRunUpdate", "metadata"),
    ("PipelineStateCreate", "metadata"),
    ("TestResultCreate", "result_data"),
    ("TestResultUpload", "result_data"),
    ("SnapshotCreate", "config"),
    ("SnapshotCreate", "validation_results"),
    ("SnapshotUpdate", "config"),
    ("SnapshotUpdate", "validation_results"),
    ("LogEntry", "context"),
}
"""Every field of a request that accepts any JSON object; each is sent below."""


def shapes(base: type[RequestModel] = RequestModel) -> Iterator[type[RequestModel]]:
    for shape in base.__subclasses__():
        if shape.__module__ == "models" or shape.__module__.startswith("backend."):
            yield shape
        yield from shapes(shape)


def takes_any_object(schema: dict[str, Any]) -> bool:
    options = [schema, *schema.get("anyOf", ())]
    return any(option.get("additionalProperties") is True for option in options)


def test_every_field_of_any_json_is_tried() -> None:
    found = {
        (shape.__name__, name)
        for shape in shapes()
        for name, schema in shape.model_json_schema().get("properties", {}).items()
        if takes_any_object(schema)
    }
    # Clients can't send the service's own logs.
    assert found - {("OwnLogEntry", "context")} == JSON_FIELDS


def texts(content: bytes) -> Any:
    """An answer whose numbers are kept as text."""
    return json.loads(
        content, parse_float=lambda text: ("f", text), parse_int=lambda text: ("i", text)
    )


async def fields(api: Api, sent: str) -> list[Any]:
    """The object in every answer that contains it, after it was sent as this text."""
    client, found = api.client, []

    async def call(method: str, path: str, body: str | None = None) -> Any:
        answer = await client.request(method, path, content=body, headers=JSON)
        assert answer.status_code in (200, 201), answer.text
        return texts(answer.content)

    run = await call(
        "POST", "/api/agent-runs", f'{{"project_id": 1, "target_text": "x", "metadata": {sent}}}'
    )
    path = f"/api/agent-runs/{run['id'][1]}"
    found += [run["metadata"], (await call("GET", path))["metadata"]]
    found += [(await call("PATCH", path, f'{{"metadata": {sent}}}'))["metadata"]]
    found += [(await call("GET", "/api/agent-runs?limit=1"))["agent_runs"][0]["metadata"]]

    body = f'{{"target_text": "x", "metadata": {sent}}}'
    found += [(await call("POST", "/api/projects/1/agent-runs", body))["metadata"]]

    state = await call(
        "POST", f"{path}/pipeline-states", f'{{"state": "testing", "metadata": {sent}}}'
    )
    history = await call("GET", f"{path}/pipeline-states")
    found += [state["metadata"], history["pipeline_states"][0]["metadata"]]
    found += [history["agent_run"]["metadata"]]

    body = f'{{"test_type": "u", "test_name": "t", "result_data": {sent}}}'
    result = await call("POST", f"{path}/test-results", body)
    batch = await call("POST", f"{path}/test-results", f'{{"test_results": [{body}]}}')
    assert batch["unchanged"] == ("i", "1")
    listed = await call("GET", f"{path}/test-results")
    found += [result["result_data"], listed["test_results"][0]["result_data"]]

    body = f'"config": {sent}, "validation_results": {sent}'
    made = await call("POST", f"{path}/snapshots", f'{{"snapshot_id": "s", {body}}}')
    own = f"/api/snapshots/{made['id'][1]}"
    patched = await call("PATCH", own, f"{{{body}}}")
    assert patched["version"] == ("i", "1")
    listed = await call("GET", f"{path}/snapshots")
    for snapshot in (made, patched, await call("GET", own), listed["snapshots"][0]):
        found += [snapshot["config"], snapshot["validation_results"]]

    await call("POST", "/api/logs", f'{{"level": "INFO", "message": "m", "context": {sent}}}')
    found += [(await call("GET", "/api/logs?limit=1"))["logs"][0]["context"]]
    return found


def one_text(found: list[Any]) -> Any:
    """The object; its text is the same in every answer."""
    written = [repr(item) for item in found]
    assert written == written[:1] * len(written)
    return found[0]


async def test_every_answer_writes_a_number_the_same(api: Api) -> None:
    for number, written in KEPT_NUMBERS.items():
        found = one_text(await fields(api, f'{{"n": [{number}]}}'))
        assert found["n"][0][1] == written


def plain(value: Any) -> Any:
    """The value with its numbers as Python reads them."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return float(value[1]) if value[0] == "f" else int(value[1])
    return [plain(item) for item in value] if isinstance(value, list) else value


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(value={"a": ["i", ["f", "1"]], "b": ["f", 1]})
@given(value=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5))
def test_any_object_has_one_text_in_all_answers(
    walker: asyncio.Runner, walk_api: Api, value: dict[str, Any]
) -> None:
    found = one_text(walker.run(fields(walk_api, json.dumps(value))))
    assert same(plain(found), value)


@pytest.mark.parametrize("number", ["1e400", "1e-400", "0.1234567890123456789", "-1e999"])
async def test_every_field_refuses_what_would_come_back_as_another_number(
    api: Api, number: str
) -> None:
    await api.new_run()
    await api.post("/api/agent-runs/1/snapshots", {"snapshot_id": "s"}, 201)
    before = [await api.run(1), await api.get("/api/snapshots/1")]
    sent = f'{{"a": {{"b": [1, {number}]}}}}'
    result = f'{{"test_type": "u", "test_name": "t", "result_data": {sent}}}'
    log = f'{{"level": "INFO", "message": "m", "context": {sent}}}'
    snapshot = f'"config": {sent}, "validation_results": {sent}'
    calls = [
        (
            "POST",
            "agent-runs",
            f'{{"project_id": 1, "target_text": "x", "metadata": {sent}}}',
            ["/metadata"],
        ),
        ("PATCH", "agent-runs/1", f'{{"metadata": {sent}}}', ["/metadata"]),
        (
            "POST",
            "agent-runs/1/pipeline-states",
            f'{{"state": "testing", "metadata": {sent}}}',
            ["/metadata"],
        ),
        ("POST", "agent-runs/1/test-results", result, ["/result_data"]),
        (
            "POST",
            "agent-runs/1/test-results",
            f'{{"test_results": [{result}]}}',
            ["/test_results/0/result_data"],
        ),
        (
            "POST",
            "agent-runs/1/snapshots",
            f'{{"snapshot_id": "t", {snapshot}}}',
            ["/config", "/validation_results"],
        ),
        ("PATCH", "snapshots/1", f"{{{snapshot}}}", ["/config", "/validation_results"]),
        ("POST", "logs", log, ["/context"]),
        ("POST", "logs", f'{{"logs": [{log}]}}', ["/logs/0/context"]),
    ]
    for method, path, body, expected in calls:
        answer = await api.client.request(method, f"/api/{path}", content=body, headers=JSON)
        assert answer.status_code == 422, body
        assert [error["pointer"] for error in answer.json()["errors"]] == expected
        assert {error["code"] for error in answer.json()["errors"]} == {"json_value"}
    assert [await api.run(1), await api.get("/api/snapshots/1")] == before


async def test_a_snapshot_sees_differences_that_python_does_not(api: Api) -> None:
    await api.new_run()
    await api.post("/api/agent-runs/1/snapshots", {"snapshot_id": "s", "config": {"a": 1}}, 201)
    for version, config in enumerate(('{"a": 1.0}', '{"a": true}', '{"a": 0}', '{"a": -0.0}'), 2):
        for _ in range(2):
            answer = await api.client.patch(
                "/api/snapshots/1", content=f'{{"config": {config}}}', headers=JSON
            )
            assert same(answer.json()["config"], json.loads(config))
            assert answer.json()["version"] == version
