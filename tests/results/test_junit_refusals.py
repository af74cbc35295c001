"""JUnit XML over HTTP: what is refused, by which error and place, and what the call shares with
JSON."""

import asyncio
import gzip

import httpx
import pytest
from fastapi import FastAPI

from tests.results.support import XML, actions, listed, make_run, send_xml
from tests.support.clients import AsToken
from tests.support.http import JSON, manager_of, places, problem, row_counts

MIB = 1024 * 1024
FILE = b'<testsuite name="s"><testcase classname="c" name="t" time="0.5"/></testsuite>'


async def post(
    client: httpx.AsyncClient, run_id: int, body: bytes, query: str = "", **headers: str
) -> httpx.Response:
    path = f"/api/agent-runs/{run_id}/test-results{query}"
    return await client.post(path, content=body, headers={**XML, **headers})


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b"   ", "line 1"),
        (b"<testsuite>\n<testcase name='a'", "line 2"),
        (b"<testsuite></testsuites>", "line 1 column 14"),
        (b"<testsuite/><testsuite/>", "line 1"),
        (b"<testsuite name='a' name='b'/>", "line 1"),
        (b"<testsuite name='\xff'/>", "line 1"),
        (b"<testsuite name='&nbsp;'/>", "line 1"),
        (b'{"test_type": "u", "test_name": "t"}', "line 1"),
        (b"<?xml version='1.0' encoding='shift_jis'?><testsuite/>", "encoding"),
        (b"<?xml version='1.0' encoding='SECRET'?><testsuite/>", "encoding"),
        # Entities that grow, that come from elsewhere, and a document type without any.
        (
            (
                b"<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'><!ENTITY c '&b;&b;&b;'>]>"
                b"<testsuite name='&c;'/>"
            ),
            "DOCTYPE",
        ),
        (
            (
                b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
                b"<testsuite><testcase name='a'><failure>&e;</failure></testcase></testsuite>"
            ),
            "DOCTYPE",
        ),
        (b"<!DOCTYPE x SYSTEM 'http://192.0.2.1/x.dtd'><testsuite/>", "DOCTYPE"),
        (
            b"<!DOCTYPE x [<!ENTITY % p SYSTEM 'http://192.0.2.1/p'> %p;]><testsuite/>",
            "DOCTYPE",
        ),
        (b"<!DOCTYPE testsuite><testsuite/>", "DOCTYPE"),
    ],
)
async def test_what_is_not_plain_xml_is_refused(
    client: httpx.AsyncClient, application: FastAPI, run_id: int, body: bytes, told: str
) -> None:
    before = row_counts(manager_of(application))
    answer = problem(await post(client, run_id, body), "bad_request")
    assert told in answer["detail"]
    assert "SECRET" not in answer["detail"]
    assert row_counts(manager_of(application)) == before


LONG = b"x" * 501


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"<TestRun/>", {"": "junit_root"}),
        (b"<testcase name='a'/>", {"": "junit_root"}),
        (b"<html><testsuite/></html>", {"": "junit_root"}),
        (
            b"<testsuite><testcase name='" + LONG + b"'/></testsuite>",
            {"/testsuite/testcase[1]/@name": "string_too_long"},
        ),
        (
            b"<testsuite><testcase/><testcase name=' '/></testsuite>",
            {
                "/testsuite/testcase[1]/@name": "string_too_short",
                "/testsuite/testcase[2]/@name": "string_too_short",
            },
        ),
        (
            "<testsuite><testcase name='\u202e'/></testsuite>".encode(),
            {"/testsuite/testcase[1]/@name": "label"},
        ),
        (
            (
                b"<testsuites><testsuite/><testsuite><properties/><testsuite>"
                b"<testcase name='a' time='1'/><testcase name='b' time='soon'/></testsuite>"
                b"<testcase name='c' time='-1'/></testsuite></testsuites>"
            ),
            {
                "/testsuites/testsuite[2]/testsuite[1]/testcase[2]/@time": "duration",
                "/testsuites/testsuite[2]/testcase[1]/@time": "duration",
            },
        ),
        *(
            (
                b"<testsuite><testcase name='a' time='" + time + b"'/></testsuite>",
                {"/testsuite/testcase[1]/@time": "duration"},
            )
            for time in (b"nan", b"inf", b"1e400", b"1s", b"0x1", b"1_000", b"--1")
        ),
        (
            b"<testsuite><testcase name='a'><testcase name='b'/></testcase></testsuite>",
            {"/testsuite/testcase[1]": "nested_case"},
        ),
        (
            b"<testsuite><testcase name='a'>" + b"<error/>" * 10_001 + b"</testcase></testsuite>",
            {"/testsuite/testcase[1]": "too_many_parts"},
        ),
        (
            b"<testsuite><testcase name='a'>" + b"<x>" * 99 + b"</x>" * 99,
            {"/testsuite/testcase[1]": "xml_depth"},
        ),
        (
            b"<testsuite><testcase name='a' note='" + b"x" * 65_536 + b"'/></testsuite>",
            {"/testsuite/testcase[1]": "json_size"},
        ),
        (
            b"<testsuite><testcase name='a'><failure>"
            + b"x" * 1_000_001
            + b"</failure></testcase></testsuite>",
            {"/testsuite/testcase[1]": "string_too_long"},
        ),
    ],
)
async def test_what_can_not_be_taken_is_named_by_its_place_and_nothing_is_stored(
    client: httpx.AsyncClient,
    application: FastAPI,
    run_id: int,
    body: bytes,
    found: dict[str, str],
) -> None:
    before = row_counts(manager_of(application))
    answer = problem(await post(client, run_id, body), "validation_failed")
    assert {error["pointer"]: error["code"] for error in answer["errors"]} == found
    assert row_counts(manager_of(application)) == before


async def test_a_small_file_can_not_say_very_much(
    client: httpx.AsyncClient, application: FastAPI, run_id: int
) -> None:
    before = row_counts(manager_of(application))
    name = b"x" * 65_000
    cases = b"<testcase name='a'/>" * 1000
    again = b"<testcase name='a'><error/>" + b"<rerunError/>" * 1000 + b"</testcase>"
    for content in (cases, again):
        body = b"<testsuite name='" + name + b"'>" + content + b"</testsuite>"
        answer = problem(await post(client, run_id, body), "validation_failed")
        assert [error["code"] for error in answer["errors"]] == ["data_size"]
    assert row_counts(manager_of(application)) == before


async def test_no_more_than_a_hundred_places_are_named(
    client: httpx.AsyncClient, run_id: int
) -> None:
    answer = await post(client, run_id, b"<testsuite>" + b"<testcase/>" * 500 + b"</testsuite>")
    assert places(answer) == [f"/testsuite/testcase[{n}]/@name" for n in range(1, 101)]


async def test_a_file_has_at_most_5_mib(client: httpx.AsyncClient, run_id: int) -> None:
    padding = b" " * (5 * MIB - len(FILE))
    assert (await send_xml(client, run_id, FILE + padding))["created"] == 1
    for query in ("", "?test_type=u"):
        answer = await post(client, run_id, FILE + padding + b" ", query)
        assert "5242880" in problem(answer, "body_too_large")["detail"]
    # JSON has the limit of all calls.
    path = f"/api/agent-runs/{run_id}/test-results"
    answer = await client.post(path, content=b" " * (MIB + 1), headers=JSON)
    assert "1048576" in problem(answer, "body_too_large")["detail"]


async def test_other_kinds_of_bodies_are_refused(client: httpx.AsyncClient, run_id: int) -> None:
    path = f"/api/agent-runs/{run_id}/test-results"
    for kind in ("text/plain", "application/xmlx", "application/junit+xml", "xml"):
        answer = await client.post(path, content=FILE, headers={"Content-Type": kind})
        assert "application/xml" in problem(answer, "unsupported_media_type")["detail"]
    answer = await client.post(path, content=FILE)
    assert "application/xml" in problem(answer, "unsupported_media_type")["detail"]
    problem(await client.post(path), "malformed_json")
    gzipped = await post(client, run_id, gzip.compress(FILE), **{"Content-Encoding": "gzip"})
    problem(gzipped, "unsupported_media_type")
    # Another call takes JSON only.
    answer = await client.post("/api/logs", content=FILE, headers=XML)
    problem(answer, "unsupported_media_type")
    for kind in ("text/xml", "Application/XML ; charset=utf-8"):
        answer = await client.post(path, content=FILE, headers={"Content-Type": kind})
        assert answer.status_code == 201, answer.text
    assert len((await listed(client, run_id))["test_results"]) == 1


async def test_the_query_is_for_xml_only(client: httpx.AsyncClient, run_id: int) -> None:
    path = f"/api/agent-runs/{run_id}/test-results"
    body = {"test_type": "u", "test_name": "t"}
    for name in ("test_type", "lease_token"):
        answer = await client.post(f"{path}?{name}=x", json=body)
        assert places(answer) == [f"/query/{name}"]
        for value in ("", "x" * 201):
            answer = await post(client, run_id, FILE, f"?{name}={value}")
            assert places(answer) == [f"/query/{name}"]
    assert places(await post(client, run_id, FILE, "?type=x")) == ["/query/type"]
    assert (await listed(client, run_id))["test_results"] == []


async def test_a_worker_that_lost_its_run_can_upload_no_file(client: httpx.AsyncClient) -> None:
    run = await make_run(client)
    claimed = (await client.post("/api/agent-runs/claim", json={"worker": "w"})).json()
    token = claimed["lease_token"]
    assert (await send_xml(client, run["id"], FILE, lease_token=token))["created"] == 1
    problem(await post(client, run["id"], FILE, "?lease_token=another"), "lease_lost")
    problem(await post(client, 99, FILE), "agent_run_not_found")


async def test_a_file_needs_the_scope_and_a_visible_run(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    hidden, seen = await make_run(client), await make_run(client)
    problem(await post(await as_token("runs:read"), seen["id"], FILE), "forbidden")
    bound = await as_token("runs:write", project_ids=[seen["project_id"]])
    problem(await post(bound, hidden["id"], FILE), "agent_run_not_found")
    assert (await send_xml(bound, seen["id"], FILE))["created"] == 1


async def test_a_file_that_changes_something_is_one_row_of_the_audit(
    client: httpx.AsyncClient,
) -> None:
    run = await make_run(client)
    etag = (await client.get(f"/api/agent-runs/{run['id']}")).headers["etag"]
    await send_xml(client, run["id"], FILE)
    await send_xml(client, run["id"], FILE)
    await send_xml(client, run["id"], FILE.replace(b"0.5", b"0.50"))
    assert [entry["action"] for entry in await actions(client, "test_results")] == [
        "test_results.stored"
    ]
    assert (await client.get(f"/api/agent-runs/{run['id']}")).headers["etag"] == etag


async def test_a_key_makes_one_answer_of_a_repeated_file(
    client: httpx.AsyncClient, run_id: int
) -> None:
    key = {"Idempotency-Key": "k"}
    first = await post(client, run_id, FILE, **key)
    assert first.json() == {"created": 1, "updated": 0, "unchanged": 0}
    again = await post(client, run_id, FILE, **key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    for body, query, headers in (
        (FILE, "", {"Content-Type": "text/xml"}),
        (FILE, "?test_type=u", {}),
        (FILE + b" ", "", {}),
    ):
        answer = await post(client, run_id, body, query, **key, **headers)
        problem(answer, "idempotency_key_reused")
    # What was refused has stored nothing under its key.
    other = {"Idempotency-Key": "other"}
    problem(await post(client, run_id, b"<x/>", **other), "validation_failed")
    assert (await post(client, run_id, FILE, **other)).status_code == 201


async def test_other_requests_are_answered_while_a_file_is_read(
    client: httpx.AsyncClient, run_id: int
) -> None:
    cases = b"".join(b'<testcase classname="c" name="t%d" time="1"/>' % n for n in range(20_000))
    task = asyncio.create_task(send_xml(client, run_id, b"<testsuite>%b</testsuite>" % cases))
    answered = 0
    while not task.done():
        await asyncio.sleep(0)
        assert (await client.get("/health")).status_code == 200
        answered += 1
    assert (await task)["created"] == 20_000
    assert answered > 1
    assert (await listed(client, run_id, limit=1))["summary"] == {"passed": 20_000, "flaky": 0}


async def test_long_outputs_keep_their_end(client: httpx.AsyncClient, run_id: int) -> None:
    out, err = "é\u0001".replace("\u0001", "\\") * 60_000 + "the end", '"' * 200_000 + "last"
    body = (
        '<testsuite name="s"><testcase name="t">'
        f"<system-out>{out}</system-out><system-err>{err}</system-err></testcase></testsuite>"
    )
    await send_xml(client, run_id, body.encode())
    (result,) = (await listed(client, run_id))["test_results"]
    data = result["result_data"]
    assert data["cut_off"] == ["system_out", "system_err"]
    for name, text in (("system_out", out), ("system_err", err)):
        assert text.endswith(data[name])
        assert len(data[name]) > 10_000


async def test_long_outputs_begin_with_a_line(client: httpx.AsyncClient, run_id: int) -> None:
    lines = "".join(f"line {number} of it\n" for number in range(10_000))
    body = f"<testsuite><testcase name='t'><system-out>{lines}</system-out></testcase></testsuite>"
    await send_xml(client, run_id, body.encode())
    (result,) = (await listed(client, run_id))["test_results"]
    kept = result["result_data"]["system_out"]
    assert kept.startswith("line ")
    assert lines.endswith(f"\n{kept}")
    assert len(kept) > 50_000
