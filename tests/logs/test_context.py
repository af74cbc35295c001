"""A log's context is returned as it was sent, or is refused."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runs.test_metadata import LIMIT, VALUES, nested, same
from tests.support.api import Api, codes

HEADERS = {"Content-Type": "application/json"}


async def post(api: Api, context: str) -> Any:
    """The answer to a log whose context is sent as this text."""
    body = f'{{"level": "INFO", "message": "m", "context": {context}}}'
    return await api.client.post("/api/logs", content=body.encode(), headers=HEADERS)


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
        "{}",
        '{"b": 1, "a": 2, "": 3, "B": 4}',
        '{"int": 1, "float": 1.0, "bool": true, "null": null, "text": "1"}',
        '{"max": 9223372036854775807, "min": -9223372036854775808, "more": 18446744073709551615}',
        '{"far": 123456789012345678901234567890}',
        '{"zero": 0.0, "negative": -0.0, "small": 5e-324, "large": 1.7976931348623157e308}',
        '{"exact": 0.1, "long": 0.30000000000000004, "e": 1e22, "whole": 123456789012345680.0}',
        '{"unicode": "\\u0000 \\ud83d\\udd11 \\u2028 é 𝄞 \\\\ \\" / \\n", "ключ": "値"}',
        '{"text": "NaN Infinity {{{{ [[[["}',
        '{"brackets": "' + "[{" * 100 + '"}',
        '{"deep": ' + "[" * 63 + "]" * 63 + "}",
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
@given(
    context=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5)
)
def test_any_context_comes_back_as_it_went_in(
    walker: asyncio.Runner, walk_api: Api, context: dict[str, Any]
) -> None:
    assert same(walker.run(send(walk_api, json.dumps(context))), context)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": "' + "x" * (LIMIT - 7) + '"}', "json_size"),
        ('{"a": "' + "é" * ((LIMIT - 8) // 2 + 1) + '"}', "json_size"),
        ('{"a": "' + "\\n" * (LIMIT // 2) + '"}', "json_size"),
        (nested(65), "json_depth"),
        (nested(300), "json_depth"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "json_depth"),
        ('{"a": 1e999}', "json_value"),
        ('{"a": [{"b": -1e999}]}', "json_value"),
        ('{"a": 1e-400}', "json_value"),
        ('{"a": 0.1234567890123456789}', "json_value"),
        ('{"a": "NaN", "b": {"c": [9007199254740993.0]}}', "json_value"),
    ],
    ids=lambda text: text[:30],
)
async def test_a_context_out_of_bounds_is_refused(api: Api, text: str, code: str) -> None:
    answer = await post(api, text)
    assert answer.status_code == 422
    assert codes(answer.json()) == [("/context", code)]
