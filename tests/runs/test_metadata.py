"""A client's JSON is returned as it was sent, or is refused."""

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import Api, codes

HEADERS = {"Content-Type": "application/json"}
LIMIT = 65_536


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are identical, including kinds of numbers, order of keys, and signs
    of zeros."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


async def send(api: Api, metadata: str) -> Any:
    """The metadata in every answer that contains it, after it was sent as this text."""
    body = f'{{"project_id": 1, "target_text": "x", "metadata": {metadata}}}'
    made = await api.client.post("/api/agent-runs", content=body.encode(), headers=HEADERS)
    assert made.status_code == 201, made.text
    run_id = made.json()["id"]
    state = f'{{"state": "testing", "metadata": {metadata}}}'
    path = f"/api/agent-runs/{run_id}/pipeline-states"
    added = await api.client.post(path, content=state.encode(), headers=HEADERS)
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
    [
        "{}",
        '{"b": 1, "a": 2, "": 3, "B": 4}',
        '{"int": 1, "float": 1.0, "bool": true, "null": null, "text": "1"}',
        '{"max": 9223372036854775807, "min": -9223372036854775808, "more": 18446744073709551615}',
        '{"far": 123456789012345678901234567890}',
        '{"zero": 0.0, "negative": -0.0, "small": 5e-324, "large": 1.7976931348623157e308}',
        '{"exact": 0.1, "long": 0.30000000000000004, "e": 1e22}',
        '{"unicode": "\\u0000 \\ud83d\\udd11 \\u2028 é 𝄞 \\\\ \\" / \\n", "ключ": "値"}',
        '{"id": 1, "status": "x", "project_id": 2, "lease_token": "y"}',
        '{"deep": ' + "[" * 63 + "]" * 63 + "}",
    ],
)
async def test_metadata_comes_back_as_it_went_in(api: Api, text: str) -> None:
    assert same(await send(api, text), json.loads(text))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    metadata=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5)
)
def test_any_metadata_comes_back_as_it_went_in(
    walker: asyncio.Runner, walk_api: Api, metadata: dict[str, Any]
) -> None:
    assert same(walker.run(send(walk_api, json.dumps(metadata))), metadata)


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": "' + "x" * (LIMIT - 7) + '"}', "json_size"),
        ('{"a": "' + "é" * ((LIMIT - 8) // 2 + 1) + '"}', "json_size"),
        ('{"a": "' + "\\n" * (LIMIT // 2) + '"}', "json_size"),
        (nested(65), "json_depth"),
        (nested(500), "json_depth"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "json_depth"),
        ('{"a": 1e999}', "json_value"),
        ('{"a": [{"b": -1e999}]}', "json_value"),
        ('{"a": 1e-400}', "json_value"),
        ('{"a": 0.1234567890123456789}', "json_value"),
        ('{"a": "NaN", "b": {"c": [9007199254740993.0]}}', "json_value"),
    ],
)
async def test_what_can_not_be_kept_is_refused(api: Api, text: str, code: str) -> None:
    run = await api.new_run()
    for method, path, field in (
        ("POST", "/api/agent-runs", '"project_id": 1, "target_text": "x"'),
        ("PATCH", "/api/agent-runs/1", '"pr_number": 1'),
        ("POST", "/api/agent-runs/1/pipeline-states", '"state": "testing"'),
    ):
        body = f'{{{field}, "metadata": {text}}}'
        answer = await api.client.request(method, path, content=body.encode(), headers=HEADERS)
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
    await api.client.post("/api/agent-runs", content=body, headers=HEADERS)
    for _ in range(2):
        answer = await api.client.patch(
            "/api/agent-runs/1", content=f'{{"metadata": {after}}}', headers=HEADERS
        )
        assert same(answer.json()["metadata"], json.loads(after))
        assert answer.json()["version"] == 2
