"""The parts of a delivery: GitHub's headers, and payloads byte for byte."""

import json
import tracemalloc
from typing import Any

import httpx
import pytest

from tests.support.http import problem
from tests.support.webhooks import PAYLOAD, deliver, delivered, headers_of, make_webhook


@pytest.mark.shared
@pytest.mark.parametrize("header", ["X-GitHub-Delivery", "X-GitHub-Event"])
@pytest.mark.parametrize("value", [None, "", "a b", "x" * 101, "a/b", "é"])
async def test_a_header_that_github_would_not_send_is_told(
    sender: httpx.AsyncClient, webhook_id: int, header: str, value: str | None
) -> None:
    headers: dict[str, Any] = headers_of(PAYLOAD)
    del headers[header]
    if value is not None:
        headers[header] = value.encode()
    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    answer = await sender.post(path, content=PAYLOAD, headers=headers)
    assert header in problem(answer, "bad_request")["detail"]


@pytest.mark.shared
@pytest.mark.parametrize(
    "media_type", [None, "application/x-www-form-urlencoded", "text/plain", "json"]
)
async def test_another_content_type_than_json_is_refused(
    sender: httpx.AsyncClient, webhook_id: int, media_type: str | None
) -> None:
    answer = await deliver(sender, webhook_id, changes={"Content-Type": media_type})
    problem(answer, "unsupported_media_type")


@pytest.mark.shared
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b"{}{}",
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\x01"}',
        b'{"a":"\\ud800"}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        '{"a":1}'.encode("utf-16"),
    ],
)
async def test_a_signed_body_that_is_no_json_object_is_refused(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int, body: bytes
) -> None:
    problem(await deliver(sender, webhook_id, body), "malformed_json")
    assert await delivered(client, webhook_id) == []


@pytest.mark.shared
@pytest.mark.parametrize(
    ("payload", "action"),
    [
        ({"action": "opened"}, "opened"),
        ({"action": "é" * 100}, "é" * 100),
        ({}, None),
        ({"action": None}, None),
        ({"action": 7}, None),
        ({"action": ""}, None),
        ({"action": "x" * 101}, None),
        ({"action": "a\0b"}, None),
        ({"action": {"a": 1}}, None),
        ({"pull_request": {"action": "inner"}}, None),
    ],
)
async def test_the_action_is_the_payload_s_if_it_has_one(
    sender: httpx.AsyncClient, webhook_id: int, payload: Any, action: str | None
) -> None:
    answer = await deliver(sender, webhook_id, json.dumps(payload).encode())
    assert (answer.status_code, answer.json()["action"]) == (202, action)


@pytest.mark.shared
async def test_a_ping_is_answered_and_kept(
    client: httpx.AsyncClient, sender: httpx.AsyncClient
) -> None:
    webhook = await make_webhook(client, events=["push"])
    body = b'{"zen":"Keep it logically awesome.","hook_id":1}'
    answer = await deliver(sender, webhook["id"], body, event="ping")
    assert (answer.status_code, answer.json()["event"]) == (202, "ping")


@pytest.mark.shared
@pytest.mark.parametrize(
    "body",
    [
        b'{"n":123456789012345678901234567890,"d":0.1234567890123456789,"e":1E400,"z":-0.0}',
        b'{"a":1,"a":2}',
        b' \t\r\n{ "a" : [ ] }\n\n',
        b'{"\\u0061\\/\\u0000":"\\u00e9\\ud83d\\ude00"}',
        '{"ключ":"\u2028é"}'.encode(),
    ],
)
async def test_a_payload_comes_back_byte_for_byte(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int, body: bytes
) -> None:
    answer = await deliver(sender, webhook_id, body)
    assert answer.status_code == 202
    assert answer.json()["payload_bytes"] == len(body)
    shown = await client.get(answer.headers["location"])
    assert shown.content.endswith(b',"payload":' + body + b"}")
    assert shown.json()["payload"] == json.loads(body)


async def test_a_large_payload_takes_the_memory_of_its_bytes(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    # As a string, the emoji makes each of its characters take four bytes.
    body = f'{{"a":"\U0001f511{"x" * 4_000_000}"}}'.encode()
    location = (await deliver(sender, webhook_id, body)).headers["location"]
    tracemalloc.start()
    try:
        shown = await client.get(location)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body in shown.content
    # The row, the answer, and what the client keeps of it.
    assert peak < 6 * len(body)
