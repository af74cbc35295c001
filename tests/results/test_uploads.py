"""Uploads of test results: one, many, and the same again."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.results.support import XML, actions, listed, make_run, results, upload
from tests.support.http import JSON, TIME, manager_of, places, problem, row_counts

WHOLE = {
    "test_type": "e2e",
    "test_name": "checkout: pays by card",
    "status": "failed",
    "duration_seconds": 12.5,
    "result_data": {"b": 1, "a": [1.5, None, True, "é💥"], "": {}},
    "error_message": "expected 200, got 500\n\tat line 3",
    "screenshot_path": "shots/1.png",
    "log_path": "logs/1.txt",
}


async def test_one_result_is_stored_and_answered(client: httpx.AsyncClient, run_id: int) -> None:
    made = await upload(client, run_id, WHOLE)
    assert TIME.fullmatch(made["created_at"])
    assert made == {
        **WHOLE,
        "id": made["id"],
        "agent_run_id": run_id,
        "attempt": 1,
        "flaky": False,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    # The order of keys is preserved.
    assert list(made["result_data"]) == ["b", "a", ""]
    assert (await listed(client, run_id))["test_results"] == [made]


async def test_all_but_the_test_may_be_left_out(client: httpx.AsyncClient, run_id: int) -> None:
    made = await upload(client, run_id, {"test_type": "unit", "test_name": "t"})
    assert made["status"] == "pending"
    names = ("duration_seconds", "result_data", "error_message", "screenshot_path", "log_path")
    assert [made[name] for name in names] == [None] * 5


async def test_a_later_result_completes_an_unfinished_one(
    client: httpx.AsyncClient, run_id: int
) -> None:
    first = await upload(client, run_id, {**WHOLE, "status": "running"})
    second = await upload(
        client, run_id, {**{k: WHOLE[k] for k in ("test_type", "test_name")}, "status": "passed"}
    )
    assert second["updated_at"] > first["updated_at"]
    assert second == {
        **first,
        "status": "passed",
        "duration_seconds": None,
        "result_data": None,
        "error_message": None,
        "screenshot_path": None,
        "log_path": None,
        "updated_at": second["updated_at"],
    }
    assert (await listed(client, run_id))["test_results"] == [second]


async def test_the_same_again_changes_nothing(client: httpx.AsyncClient, run_id: int) -> None:
    made = await upload(client, run_id, WHOLE)
    assert await upload(client, run_id, WHOLE) == made
    # An answer that was read can be sent back.
    assert await upload(client, run_id, made) == made
    assert await upload(client, run_id, {"test_results": [made]}) == {
        "created": 0,
        "updated": 0,
        "unchanged": 1,
    }
    assert (await listed(client, run_id))["test_results"] == [made]


@pytest.mark.parametrize("field", list(WHOLE)[2:])
@pytest.mark.parametrize("way", ["changed", "cleared", "filled"])
async def test_any_field_makes_a_difference(
    client: httpx.AsyncClient, run_id: int, field: str, way: str
) -> None:
    others = {"status": "error", "duration_seconds": 0.0, "result_data": {"b": 2}}
    changed = {**WHOLE, field: others.get(field, "another")}
    cleared = {name: value for name, value in WHOLE.items() if name != field}
    before, after = {
        "changed": (WHOLE, changed),
        "cleared": (WHOLE, cleared),
        "filled": (cleared, WHOLE),
    }[way]
    first = await upload(client, run_id, {**before, "attempt": 1})
    counts = await upload(client, run_id, {"test_results": [{**after, "attempt": 1}]})
    assert counts == {"created": 0, "updated": 1, "unchanged": 0}
    (stored,) = (await listed(client, run_id))["test_results"]
    assert stored["id"] == first["id"]
    assert stored[field] == after.get(field, "pending" if field == "status" else None)
    assert stored["updated_at"] > first["updated_at"]
    # Without a number, the difference makes another attempt of a finished one.
    is_finished = stored["status"] != "pending"
    counts = await upload(client, run_id, {"test_results": [before]})
    assert counts == {"created": is_finished, "updated": not is_finished, "unchanged": 0}


async def test_a_thousand_results_are_stored_and_a_retry_doubles_none(
    client: httpx.AsyncClient, run_id: int
) -> None:
    names = [f"unit/tests::test_{n}/{'failed' if n % 10 == 0 else 'passed'}" for n in range(1000)]
    batch = results(*names, duration_seconds=0.25)
    assert await upload(client, run_id, batch) == {"created": 1000, "updated": 0, "unchanged": 0}
    page = await listed(client, run_id, limit=500)
    assert page["summary"] == {"failed": 100, "passed": 900, "flaky": 0}
    assert await upload(client, run_id, batch) == {"created": 0, "updated": 0, "unchanged": 1000}
    assert await listed(client, run_id, limit=500) == page
    batch["test_results"][0]["status"] = "passed"
    batch["test_results"][1]["test_name"] = "another"
    assert await upload(client, run_id, batch) == {"created": 2, "updated": 0, "unchanged": 998}
    assert (await listed(client, run_id))["summary"] == {"failed": 99, "passed": 902, "flaky": 1}


async def test_a_batch_counts_as_if_its_results_came_one_by_one(
    client: httpx.AsyncClient, run_id: int
) -> None:
    batch = results("unit/a/failed", "unit/b/passed", "unit/a/passed", "e2e/a/error")
    assert await upload(client, run_id, batch) == {"created": 4, "updated": 0, "unchanged": 0}
    stored = (await listed(client, run_id))["test_results"]
    assert [(r["test_type"], r["test_name"], r["attempt"], r["status"]) for r in stored] == [
        ("e2e", "a", 1, "error"),
        ("unit", "a", 2, "passed"),
        ("unit", "b", 1, "passed"),
    ]


@pytest.mark.shared
async def test_a_batch_may_be_empty_and_not_more_than_a_thousand(
    client: httpx.AsyncClient, run_id: int, application: FastAPI
) -> None:
    assert await upload(client, run_id, {"test_results": []}) == {
        "created": 0,
        "updated": 0,
        "unchanged": 0,
    }
    path = f"/api/agent-runs/{run_id}/test-results"
    batch = results(*(f"unit/t{n}/passed" for n in range(1001)))
    assert places(await client.post(path, json=batch)) == ["/test_results"]
    assert row_counts(manager_of(application))["test_results"] == 0


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"test_type": ""}, "/test_type"),
        ({"test_type": "x" * 101}, "/test_type"),
        ({"test_type": None}, "/test_type"),
        ({"test_name": ""}, "/test_name"),
        ({"test_name": "x" * 501}, "/test_name"),
        ({"test_name": "a\0"}, "/test_name"),
        ({"test_name": 5}, "/test_name"),
        ({"status": "Passed"}, "/status"),
        ({"status": None}, "/status"),
        ({"status": 1}, "/status"),
        ({"duration_seconds": -0.001}, "/duration_seconds"),
        ({"duration_seconds": "1"}, "/duration_seconds"),
        ({"duration_seconds": True}, "/duration_seconds"),
        ({"duration_seconds": 10**400}, "/duration_seconds"),
        ({"result_data": []}, "/result_data"),
        ({"result_data": "{}"}, "/result_data"),
        ({"result_data": {"a": "x" * 65_536}}, "/result_data"),
        ({"error_message": "x" * 1_000_001}, "/error_message"),
        ({"error_message": "a\0"}, "/error_message"),
        ({"screenshot_path": "x" * 4097}, "/screenshot_path"),
        ({"log_path": 1}, "/log_path"),
        ({"lease_token": ""}, "/lease_token"),
        ({"attempt": 0}, "/attempt"),
        ({"attempt": -1}, "/attempt"),
        ({"attempt": 1_000_001}, "/attempt"),
        ({"attempt": "1"}, "/attempt"),
        ({"attempt": True}, "/attempt"),
        ({"duration": 1}, "/duration"),
    ],
)
async def test_a_wrong_value_is_told_by_its_place_and_nothing_is_stored(
    client: httpx.AsyncClient,
    application: FastAPI,
    run_id: int,
    change: dict[str, Any],
    place: str,
) -> None:
    path = f"/api/agent-runs/{run_id}/test-results"
    wrong = {**WHOLE, **change}
    assert places(await client.post(path, json=wrong)) == [place]
    batch = {"test_results": [WHOLE, wrong]}
    assert places(await client.post(path, json=batch)) == [f"/test_results/1{place}"]
    assert row_counts(manager_of(application))["test_results"] == 0


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], ""),
        ("x", ""),
        (None, ""),
        ({"test_results": {}}, "/test_results"),
        ({"test_results": None}, "/test_results"),
        ({"test_results": [1]}, "/test_results/0"),
        ({"test_results": [], "status": "passed"}, "/status"),
        ({}, "/test_type"),
    ],
)
async def test_a_body_is_one_result_or_a_batch(
    client: httpx.AsyncClient, run_id: int, body: Any, place: str
) -> None:
    answer = await client.post(
        f"/api/agent-runs/{run_id}/test-results", content=json.dumps(body), headers=JSON
    )
    assert places(answer)[0] == place


@pytest.mark.shared
async def test_numbers_that_no_double_holds_are_refused(
    client: httpx.AsyncClient, run_id: int
) -> None:
    path = f"/api/agent-runs/{run_id}/test-results"
    for field, value in (("duration_seconds", "1e400"), ("result_data", '{"a":[-1e999]}')):
        body = f'{{"test_type":"u","test_name":"t","{field}":{value}}}'
        answer = await client.post(path, content=body, headers=JSON)
        assert places(answer) == [f"/{field}"]


async def test_result_data_of_64_kib_is_taken(client: httpx.AsyncClient, run_id: int) -> None:
    data = {"a": "é" * ((65_536 - len('{"a":""}')) // 2)}
    made = await upload(client, run_id, {**WHOLE, "result_data": data})
    assert made["result_data"] == data


async def test_results_of_a_missing_run_are_not_there(client: httpx.AsyncClient) -> None:
    path = "/api/agent-runs/9/test-results"
    for query in ("", "?limit=1"):
        problem(await client.get(path + query), "agent_run_not_found")
    for body in (WHOLE, {"test_results": [WHOLE]}):
        problem(await client.post(path, json=body), "agent_run_not_found")


async def test_a_worker_that_lost_its_run_can_upload_no_more(client: httpx.AsyncClient) -> None:
    run = await make_run(client)
    path = f"/api/agent-runs/{run['id']}"
    claimed = (await client.post("/api/agent-runs/claim", json={"worker": "w"})).json()
    assert claimed["id"] == run["id"]
    token = claimed["lease_token"]
    await upload(client, run["id"], {**WHOLE, "lease_token": token})
    await upload(client, run["id"], {"test_results": [WHOLE], "lease_token": token})
    for body in (WHOLE, {"test_results": [WHOLE]}):
        answer = await client.post(f"{path}/test-results", json={**body, "lease_token": "another"})
        problem(answer, "lease_lost")
    # A single result of a batch can't contain the token.
    inside = {"test_results": [{**WHOLE, "lease_token": token}]}
    answer = await client.post(f"{path}/test-results", json=inside)
    assert places(answer) == ["/test_results/0/lease_token"]


async def test_an_upload_that_changes_something_is_one_row_of_the_audit(
    client: httpx.AsyncClient,
) -> None:
    run = await make_run(client)
    await upload(client, run["id"], WHOLE)
    await upload(client, run["id"], WHOLE)
    await upload(client, run["id"], results("unit/a/passed", "unit/b/passed"))
    await upload(client, run["id"], results("unit/a/passed"))
    row = {
        "action": "test_results.stored",
        "target": f"agent_runs/{run['id']}/test_results",
        "project_id": run["project_id"],
        "fields": ["test_results"],
    }
    assert await actions(client, "test_results") == [row, row]


async def test_attempts_end_where_a_client_could_not_number_them(
    client: httpx.AsyncClient, run_id: int
) -> None:
    last = {"test_type": "junit", "test_name": "a", "status": "failed", "attempt": 1_000_000}
    stored = await upload(client, run_id, last)
    # What was read can be sent back.
    assert await upload(client, run_id, stored) == stored
    path = f"/api/agent-runs/{run_id}/test-results"
    again = {"test_type": "junit", "test_name": "a", "status": "passed"}
    xml = b"<testsuite><testcase name='b'/><testcase name='a'/></testsuite>"
    for answer in (
        await client.post(path, json=again),
        await client.post(path, json={"test_results": [again]}),
        await client.post(path, content=xml, headers=XML),
        # The file is not taken for one that was stored.
        await client.post(path, content=xml, headers=XML),
    ):
        found = problem(answer, "validation_failed")
        assert [error["code"] for error in found["errors"]] == ["too_many_attempts"]
    assert (await listed(client, run_id))["test_results"] == [stored]
