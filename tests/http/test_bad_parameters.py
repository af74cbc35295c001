"""Invalid paths and queries, sent to every call."""

import io
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import all_rows, manager_of, places, problem
from tests.support.routes import Call, all_calls, make_something_of_everything

SENTINEL = "hunter2-sentinel"
NO_INTEGERS = (
    *("0", "-1", str(2**63), "9" * 5000, "1.0", "1.5", "1e0", "+1", "%2B1", "01", "1_0", "0x1"),
    *("%201", "1%20", "1%0A", "%D9%A1", "%00", "1%00", "%ff", "%ED%A0%80", "null", "true", "NaN"),
    *(SENTINEL, "%27%20OR%201=1--", "x" * 5000),
)
NO_TEXTS = ("%00", f"{SENTINEL}%00", "%ff", "%ED%A0%80", "%C0%AF", "%80", "x" * 5000)
NO_PATHS = ("%00", "%ff", "%ED%A0%80", "%2F", "%2e%2e", "x" * 5000, SENTINEL, "%27", "a%0Ab")


@pytest.fixture(autouse=True)
async def everything(client: httpx.AsyncClient) -> None:
    """Create one of everything."""
    await make_something_of_everything(client)


def is_integer(call: Call, parameter: dict[str, Any]) -> bool:
    """Whether a parameter is declared as an integer."""
    options = parameter["schema"].get("anyOf", [parameter["schema"]])
    return any(call.resolved(option).get("type") == "integer" for option in options)


async def test_a_path_leads_to_a_problem_or_to_what_it_names(
    client: httpx.AsyncClient, application: FastAPI, log: io.StringIO
) -> None:
    before = all_rows(manager_of(application))
    tried = 0
    for call in all_calls():
        for parameter in call.parameters("path"):
            number = is_integer(call, parameter)
            for text in NO_INTEGERS if number else NO_PATHS:
                path = call.path(**{parameter["name"]: text})
                body: Any = {} if call.needs_body else None
                response = await client.request(call.method, path, json=body)
                assert 400 <= response.status_code < 500, f"{call} {text}: {response.text}"
                document = problem(response, response.json()["code"])
                assert SENTINEL not in str(document)
                tried += 1
                # A text that can't be an id is not reported as an unknown id.
                if number and document["code"] == "validation_failed":
                    assert document["errors"][0]["pointer"] == f"/path/{parameter['name']}"
                elif number:
                    assert document["code"] in ("bad_request", "not_found"), (str(call), text)
    assert tried > 300
    assert all_rows(manager_of(application)) == before
    assert SENTINEL not in log.getvalue()


async def test_a_query_is_understood_or_refused(
    client: httpx.AsyncClient, application: FastAPI, log: io.StringIO
) -> None:
    before = all_rows(manager_of(application))
    tried = 0
    for call in all_calls():
        for parameter in call.parameters("query"):
            for text in NO_INTEGERS if is_integer(call, parameter) else NO_TEXTS:
                if text == "0" and "'minimum': 0" in str(parameter):
                    continue
                url = f"{call.path()}?{parameter['name']}={text}"
                body: Any = {} if call.needs_body else None
                response = await client.request(call.method, url, json=body)
                assert 400 <= response.status_code < 500, f"{call} {url}: {response.text}"
                document = problem(response, response.json()["code"])
                assert SENTINEL not in str(document)
                tried += 1
    assert tried > 100
    assert all_rows(manager_of(application)) == before
    assert SENTINEL not in log.getvalue()


async def test_a_query_in_percent_encoded_utf_8_is_read(client: httpx.AsyncClient) -> None:
    for query in ("q=%C3%A9%F0%9F%94%91", "q=a+b%20c", "q=%25", "q=%EF%BF%BD", "q=%7F", "q"):
        assert (await client.get(f"/api/projects?{query}")).status_code == 200


async def test_what_an_unknown_parameter_says_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/api/projects?unknown={SENTINEL}&=&q=first&q=second")
    assert places(response) == ["/query/unknown", "/query", "/query/q"]
    assert SENTINEL not in response.text


async def test_a_very_long_query_is_refused(client: httpx.AsyncClient) -> None:
    text = SENTINEL * 3000
    for name in ("q", "owner", "status", "sort", "limit", "cursor"):
        response = await client.get(f"/api/projects?{name}={text}")
        problem(response, "bad_cursor" if name == "cursor" else "validation_failed")
        assert SENTINEL not in response.text
