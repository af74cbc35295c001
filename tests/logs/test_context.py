"""A log's context is returned as it was sent, or is refused."""

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


async def post(api: Api, context: str) -> Any:
    """The answer to a log whose context is sent as this text."""
    body = f'{{"level": "INFO", "message": "m", "context": {context}}}'
    return await api.client.post("/api/logs", content=body.encode(), headers=JSON)


async def send(api: Api, context: str) -> Any:
    """The context that is returned for a context sent as this text."""
    answer = await post(api, context)
    assert answer.status_code == 201, answer.text
    listed = await api.client.get("/api/logs?limit=1")
    return listed.json()["logs"][0]["context"]


@pytest.mark.shared
@pytest.mark.parametrize(
    "text",
    [
        *KEPT_OBJECTS,
        '{"text": "NaN Infinity {{{{ [[[["}',
        '{"brackets": "' + "[{" * 100 + '"}',
        nested(64),
        '{"a": "' + "x" * (LIMIT - 8) + '"}',
        '{"a": "' + "é" * ((LIMIT - 8) // 2) + '"}',
        '{"a": [' + ",".join(["123456789012345680.0"] * 2800) + "]}",
    ],
    ids=lambda text: text[:30],
)
async def test_a_context_comes_back_as_it_went_in(api: Api, text: str) -> None:
    assert same(await send(api, text), json.loads(text))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(context=OBJECTS)
def test_any_context_comes_back_as_it_went_in(
    walker: asyncio.Runner, walk_api: Api, context: dict[str, Any]
) -> None:
    assert same(walker.run(send(walk_api, json.dumps(context))), context)


@pytest.mark.shared
@pytest.mark.parametrize(("text", "code"), REFUSED_OBJECTS, ids=lambda text: text[:30])
async def test_a_context_out_of_bounds_is_refused(api: Api, text: str, code: str) -> None:
    answer = await post(api, text)
    assert answer.status_code == 422
    assert codes(answer.json()) == [("/context", code)]
