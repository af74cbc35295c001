"""Numbers in JSON objects are returned as they were sent, in the same form in every answer, or are
refused."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.http.strict_json import parse_json
from backend.schemas.base import RequestModel
from backend.schemas.json_numbers import UNKEPT, read_decimal
from tests.support.http import JSON, new_project, places
from tests.support.json_objects import same
from tests.support.routes import Call, all_calls, make_something_of_everything

UNKEPT_NUMBERS = (
    *("1e400", "-1e400", "1e-400", "-1E-400", "1e999999999999999999999", "1e-99999999999999999999"),
    *("0." + "0" * 400 + "1", "1" + "0" * 400 + ".0", "1" * 4000 + ".5", "0.1234567890123456789"),
    *(
        "0.10000000000000001",
        "9007199254740993.0",
        "123456789012345678.0",
        "1.7976931348623159e308",
    ),
    *(
        "4.9e-324",
        "2e-324",
        "3.14159265358979323846",
        "1.00000000000000000001",
        "12345678901234567e-3",
    ),
)
KEPT_NUMBERS = {
    "0": "0",
    "-0": "-0.0",
    "-0.0": "-0.0",
    "0e5": "0.0",
    "0.000": "0.0",
    "-0e-999999": "-0.0",
    "1": "1",
    "1.0": "1.0",
    "1.10": "1.1",
    "1E5": "100000.0",
    "1e-7": "1e-7",
    "1e-07": "1e-7",
    "0.0000001": "1e-7",
    "1e5": "100000.0",
    "1e16": "1e+16",
    "1e+22": "1e+22",
    "123456789012345680.0": "1.2345678901234568e+17",
    "0.30000000000000004": "0.30000000000000004",
    "5e-324": "5e-324",
    "2.2250738585072014e-308": "2.2250738585072014e-308",
    "1.7976931348623157e308": "1.7976931348623157e+308",
    "9007199254740993": "9007199254740993",
    "18446744073709551616": "18446744073709551616",
    "-9223372036854775809": "-9223372036854775809",
    "1" + "0" * 400: "1" + "0" * 400,
    "9" * 4300: "9" * 4300,
}


@pytest.mark.parametrize(("text", "written"), KEPT_NUMBERS.items(), ids=lambda text: text[:25])
def test_a_number_is_read_exactly(text: str, written: str) -> None:
    (value,) = parse_json(f"[{text}]".encode())
    shown = repr(value) if isinstance(value, float) else value
    assert Decimal(text) == Decimal(written) == Decimal(shown)
    assert str(value).startswith("-") == text.startswith("-")


@pytest.mark.parametrize("text", UNKEPT_NUMBERS, ids=lambda text: text[:25])
def test_a_number_that_would_be_another_is_not_read(text: str) -> None:
    assert parse_json(f'{{"a": [{text}, 1.5]}}'.encode()) == {"a": [UNKEPT, 1.5]}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_read_in_every_way_of_writing_it(value: float) -> None:
    for text in (
        json.dumps(value),
        json.dumps(value).upper(),
        f"{value!r}",
        str(Decimal(repr(value))),
    ):
        if re.search(r"[.eE]", text):
            read = read_decimal(text)
            assert isinstance(read, float)
            assert same(read, value)


WHOLE = st.tuples(
    st.sampled_from(["", "-"]), st.integers(0, 10**20 - 1).map(str) | st.integers(0, 9).map(str)
).map("".join)
FRACTION = st.text("0123456789", min_size=1, max_size=20).map(".{}".format)
EXPONENT = st.tuples(
    st.sampled_from("eE"),
    st.sampled_from(["", "+", "-"]),
    st.text("0123456789", min_size=1, max_size=3),
).map("".join)
DECIMALS = (
    st.tuples(WHOLE, FRACTION) | st.tuples(WHOLE, EXPONENT) | st.tuples(WHOLE, FRACTION, EXPONENT)
).map("".join)
"""All numbers with a fraction or an exponent, up to a length. A regular expression would make them
ten times as slowly."""


@given(DECIMALS)
def test_any_number_is_read_equal_or_not_at_all(text: str) -> None:
    value = read_decimal(text)
    if isinstance(value, float):
        assert Decimal(repr(value)) == Decimal(text)
    else:
        # No double is written as this number.
        assert value is UNKEPT
        assert not (
            0 < abs(float(text)) < float("inf") and Decimal(repr(float(text))) == Decimal(text)
        )


SHORT = st.tuples(
    st.sampled_from(["", "-"]),
    st.integers(0, 10**13).map(str),
    st.text("0123456789", min_size=1, max_size=15).map(".{}".format),
).map("".join)
"""Numbers around the length up to which the fast decoder reads them."""


@given(SHORT | DECIMALS)
def test_both_decoders_read_the_same_number(text: str) -> None:
    (value,) = parse_json(f"[{text}]".encode())
    expected = read_decimal(text)
    assert type(value) is type(expected)
    if isinstance(expected, float):
        assert same(value, expected)


STRANGE = ("3e5a77bc-0000-4000-8000-0123456789ab", "2026-01-05T00:00:00Z", "1" * 20, ", -0 1e5")
PLACES = ("{}", " {}", "[{}]", "[\n{}\t]", "[1,{}]", '{{"a":{}}}', '{{"a" : {} }}', '["a"\r, {}]')


@given(SHORT | DECIMALS | st.sampled_from([*KEPT_NUMBERS, *UNKEPT_NUMBERS]))
def test_a_number_is_read_alike_beside_any_string_and_in_any_place(text: str) -> None:
    (expected,) = parse_json(f"[{text}]".encode())
    for place in PLACES:
        for string in STRANGE:
            body = f'{{"{string}": ["{string}"], "value": {place.format(text)}}}'
            assert _last(parse_json(body.encode())["value"]) == expected
        assert _last(parse_json(place.format(text).encode())) == expected


def _last(value: Any) -> Any:
    """The last value in a list or an object, or the value itself."""
    while isinstance(value, list | dict):
        value = (list(value.values()) if isinstance(value, dict) else value)[-1]
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-0", "-0.0"),
        ('["-0", -0, "a-0"]', '["-0", -0.0, "a-0"]'),
        ('{"-0": -0}', '{"-0": -0.0}'),
        ('["2026-01-01", -0.5, -0e1, 10, -10]', '["2026-01-01", -0.5, -0.0, 10, -10]'),
    ],
)
def test_minus_zero_keeps_its_sign(text: str, value: str) -> None:
    assert json.dumps(parse_json(text.encode())) == value


def test_an_unkept_number_beside_a_surrogate_is_no_matter() -> None:
    assert parse_json(b'["\\ud83d\\udd11", 1e400]') == ["\U0001f511", UNKEPT]


@pytest.mark.parametrize("text", [*UNKEPT_NUMBERS[:9], "1" + "0" * 400, "9007199254740993"])
async def test_a_duration_is_what_was_measured_or_refused(
    client: httpx.AsyncClient, text: str
) -> None:
    await make_something_of_everything(client)
    result = f'{{"test_type": "unit", "test_name": "t", "duration_seconds": {text}}}'
    path = "/api/agent-runs/1/test-results"
    answer = await client.post(path, content=result, headers=JSON)
    assert places(answer) == ["/duration_seconds"]
    batch = f'{{"test_results": [{result.replace(text, "1.5")}, {result}]}}'
    answer = await client.post(path, content=batch, headers=JSON)
    assert places(answer) == ["/test_results/1/duration_seconds"]
    assert "string" in answer.json()["errors"][0]["message"]
    assert (await client.get(path)).json()["test_results"] == []


def places_in(schema: dict[str, Any], call: Call) -> Iterator[str]:
    """The possible members of an object of this shape that are not ignored."""
    for option in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        members = call.resolved(option).get("properties", {})
        yield from (name for name, member in members.items() if not member.get("readOnly"))


async def test_every_field_refuses_such_a_number(client: httpx.AsyncClient) -> None:
    await make_something_of_everything(client)
    tried = 0
    for call in all_calls():
        content = call.operation.get("requestBody", {}).get("content", {})
        if "application/json" not in content or call.template.endswith("/deliveries/github"):
            continue
        for field in (*places_in(content["application/json"]["schema"], call), "surprise"):
            for text in ("1e400", "0.1234567890123456789"):
                body = json.dumps({**call.example, field: "@"}).replace('"@"', text)
                answer = await client.request(call.method, call.path(), content=body, headers=JSON)
                assert any(place.startswith(f"/{field}") for place in places(answer)), (call, field)
                assert text not in answer.text
                tried += 1
    assert tried > 150


async def test_what_is_ignored_may_hold_such_a_number(client: httpx.AsyncClient) -> None:
    for name in RequestModel.answer_only:
        project = json.dumps(new_project(**{name: "@"})).replace('"@"', "1e400")
        answer = await client.post("/api/projects", content=project, headers=JSON)
        assert answer.status_code == 201
