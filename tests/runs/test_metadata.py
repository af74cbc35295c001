"""A client's JSON is returned as it was sent, or is refused."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.api import Api, codes
from tests.support.http import JSON
from tests.support.json_objects import (
    KEPT_OBJECTS,
    LIMIT,
    OBJECTS,
    REFUSED_OBJECTS,
    nested,
    same,
)


async def send(api: Api, metadata: str) -> Any:
    """The metadata in every answer that contains it, after it was sent as this text."""
    body = f'{{"project_id": 1, "target_text": "x", "metadata": {metadata}}}'
    made = await api.client.post("/api/agent-runs", content=body.encode(), headers=JSON)
    assert made.status_code == 201, made.text
    run_id = made.json()["id"]
    state = f'{{"state": "testing", "metadata": {metadata}}}'
    path = f"/api/agent-runs/{run_id}/pipeline-states"
    added = await api.client.post(path, content=state.encode(), headers=JSON)
    assert added.status_code == 201
    history = (await api.client.get(path)).json()
    listed = (await api.client.get("/api/agent-runs?limit=1")).json()
    found = [
        made.json()["metadata"],
        added.json()["metadata"],
        (await api.run(run_id))["metadata"],
        listed["agent_runs"][0]["metadata"],
        history["agent_run"]["metadata"],
        history["pipeline_states"][0]["metadata"],
    ]
    assert all(same(found[0], other) for other in found[1:])
    return found[0]


@pytest.mark.shared
@pytest.mark.parametrize(
    "text",
    [*KEPT_OBJECTS, '{"id": 1, "status": "x", "project_id": 2, "lease_token": "y"}'],
)
async def test_metadata_comes_back_as_it_went_in(api: Api, text: str) -> None:
    assert same(await send(api, text), json.loads(text))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(metadata=OBJECTS)
def test_any_metadata_comes_back_as_it_went_in(
    walker: asyncio.Runner, walk_api: Api, metadata: dict[str, Any]
) -> None:
    assert same(walker.run(send(walk_api, json.dumps(metadata))), metadata)


@pytest.mark.parametrize(("text", "code"), REFUSED_OBJECTS)
async def test_what_can_not_be_kept_is_refused(api: Api, text: str, code: str) -> None:
    run = await api.new_run()
    for method, path, field in (
        ("POST", "/api/agent-runs", '"project_id": 1, "target_text": "x"'),
        ("PATCH", "/api/agent-runs/1", '"pr_number": 1'),
        ("POST", "/api/agent-runs/1/pipeline-states", '"state": "testing"'),
    ):
        body = f'{{{field}, "metadata": {text}}}'
        answer = await api.client.request(method, path, content=body.encode(), headers=JSON)
        assert answer.status_code == 422
        assert codes(answer.json()) == [("/metadata", code)]
    assert await api.run(1) == run
    assert len((await api.get("/api/agent-runs"))["agent_runs"]) == 1


@pytest.mark.parametrize("text", ['{"a": "' + "x" * (LIMIT - 8) + '"}', nested(64)])
async def test_metadata_may_have_exactly_its_bound(api: Api, text: str) -> None:
    assert same(await send(api, text), json.loads(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ('{"a": 1}', '{"a": 1.0}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": 0.0}', '{"a": -0.0}'),
        ('{"a": [0]}', '{"a": [false]}'),
    ],
)
async def test_a_patch_sees_differences_that_python_does_not(
    api: Api, before: str, after: str
) -> None:
    body = f'{{"project_id": 1, "target_text": "x", "metadata": {before}}}'
    await api.client.post("/api/agent-runs", content=body, headers=JSON)
    for _ in range(2):
        answer = await api.client.patch(
            "/api/agent-runs/1", content=f'{{"metadata": {after}}}', headers=JSON
        )
        assert same(answer.json()["metadata"], json.loads(after))
        assert answer.json()["version"] == 2
