"""GitHub's deliveries: accepted once, with a valid signature, and shown as they were sent."""

import asyncio
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from database.sqlite.connection import ConnectionConfig, open_connection
from tests.support.clients import Caller
from tests.support.http import TIME, manager_of, problem, row_counts
from tests.support.webhooks import (
    PAYLOAD,
    deliver,
    delivered,
    headers_of,
    in_pieces,
    make_webhook,
    signature,
)

SIGNATURE = "X-Hub-Signature-256"


@pytest.mark.shared
async def test_a_delivery_is_stored_as_it_came(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    response = await deliver(sender, webhook_id, guid="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    assert response.status_code == 202
    delivery = response.json()
    assert TIME.fullmatch(delivery["created_at"])
    assert delivery == {
        "id": delivery["id"],
        "webhook_id": webhook_id,
        "guid": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "event": "pull_request",
        "action": "opened",
        "payload_bytes": len(PAYLOAD),
        "created_at": delivery["created_at"],
    }
    path = f"/api/webhooks/{webhook_id}/deliveries/{delivery['id']}"
    assert response.headers["location"] == path
    shown = await client.get(path)
    assert shown.headers["content-type"] == "application/json"
    assert shown.json() == {**delivery, "payload": {"action": "opened", "number": 7}}
    assert await delivered(client, webhook_id) == [delivery]


async def test_an_answer_is_sent_after_the_delivery_is_durable(
    sender: httpx.AsyncClient, webhook_id: int, database_path: Path
) -> None:
    assert (await deliver(sender, webhook_id)).status_code == 202
    with closing(open_connection(ConnectionConfig(database_path))) as other:
        rows = other.execute("SELECT guid, payload FROM webhook_deliveries").fetchall()
    assert [tuple(row) for row in rows] == [("g-1", PAYLOAD.decode())]


@pytest.mark.shared
async def test_a_repeat_has_no_effect_whatever_it_brings(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI, webhook_id: int
) -> None:
    first = await deliver(sender, webhook_id)
    webhook = (await client.get(f"/api/webhooks/{webhook_id}")).json()
    rows = row_counts(manager_of(application))
    for body, event in ((PAYLOAD, "pull_request"), (b'{"action":"closed"}', "push")):
        again = await deliver(sender, webhook_id, body, event=event)
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["location"] == first.headers["location"]
    assert row_counts(manager_of(application)) == rows
    assert (await client.get(f"/api/webhooks/{webhook_id}")).json() == webhook
    shown = (await client.get(first.headers["location"])).json()
    assert shown["payload"] == {"action": "opened", "number": 7}


@pytest.mark.shared
async def test_each_webhook_has_its_own_deliveries(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    other = (await make_webhook(client))["id"]
    ids = []
    for webhook in (webhook_id, other):
        response = await deliver(sender, webhook)
        assert response.status_code == 202
        ids.append(response.json()["id"])
        assert [item["id"] for item in await delivered(client, webhook)] == [ids[-1]]
    crossed = await client.get(f"/api/webhooks/{webhook_id}/deliveries/{ids[1]}")
    problem(crossed, "delivery_not_found")


@pytest.mark.shared
async def test_of_many_at_once_with_one_guid_one_is_stored(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    answers = await asyncio.gather(*(deliver(sender, webhook_id) for _ in range(64)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: 63}
    assert len({answer.content for answer in answers}) == 1
    assert len(await delivered(client, webhook_id)) == 1


@pytest.mark.shared
async def test_the_webhook_tells_when_it_was_last_delivered_to(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    before = (await client.get(f"/api/webhooks/{webhook_id}")).json()
    delivery = (await deliver(sender, webhook_id)).json()
    after = (await client.get(f"/api/webhooks/{webhook_id}")).json()
    assert after == {**before, "last_triggered_at": delivery["created_at"]}


async def test_the_audit_records_each_delivery_once(
    client: httpx.AsyncClient, caller: Caller, webhook_id: int
) -> None:
    webhook = (await client.get(f"/api/webhooks/{webhook_id}")).json()
    async with caller("192.30.252.1") as github:
        delivery = (await deliver(github, webhook_id)).json()
        assert (await deliver(github, webhook_id)).status_code == 200
        forged = await deliver(github, webhook_id, changes={SIGNATURE: "sha256=" + "0" * 64})
        assert forged.status_code == 401
    answer = await client.get("/api/audit", params={"action": "delivery.received"})
    [entry] = answer.json()["entries"]
    assert entry["target"] == f"webhooks/{webhook_id}/deliveries/{delivery['id']}"
    assert (entry["project_id"], entry["version"]) == (webhook["project_id"], None)
    assert (entry["actor"], entry["actor_token_id"]) == ("anonymous", None)
    assert (entry["address"], entry["fields"]) == ("192.30.252.1", [])


# Signatures


@pytest.mark.shared
async def test_github_s_own_example_is_taken(
    client: httpx.AsyncClient, sender: httpx.AsyncClient
) -> None:
    # From GitHub's page "Validating webhook deliveries". Its body is not JSON, but only senders who
    # can sign learn that.
    webhook = await make_webhook(client, secret_token="It's a Secret to Everybody")
    right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    for claimed, code in ((right, "malformed_json"), (right[:-1] + "8", "unauthenticated")):
        headers = {**headers_of(b"Hello, World!"), "X-Hub-Signature-256": claimed}
        path = f"/api/webhooks/{webhook['id']}/deliveries/github"
        problem(await sender.post(path, content=b"Hello, World!", headers=headers), code)


@pytest.mark.shared
@pytest.mark.parametrize(
    "claimed",
    [
        None,
        "",
        "sha256=",
        signature(PAYLOAD, "another"),
        signature(PAYLOAD + b" "),
        signature(PAYLOAD)[:-1],
        signature(PAYLOAD) + "0",
        signature(PAYLOAD).upper(),
        signature(PAYLOAD).replace("sha256=", "sha1="),
        signature(PAYLOAD).removeprefix("sha256="),
        " ".join(signature(PAYLOAD)),
        "sha256=" + "é" * 64,
    ],
)
async def test_a_wrong_signature_stores_nothing(
    client: httpx.AsyncClient,
    sender: httpx.AsyncClient,
    application: FastAPI,
    webhook_id: int,
    claimed: str | None,
) -> None:
    before = row_counts(manager_of(application))
    headers: dict[str, Any] = headers_of(PAYLOAD)
    del headers["X-Hub-Signature-256"]
    if claimed is not None:
        headers["X-Hub-Signature-256"] = claimed.encode()
    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    refused = await sender.post(path, content=PAYLOAD, headers=headers)
    problem(refused, "unauthenticated")
    assert refused.headers["www-authenticate"] == 'HMAC-SHA256 header="X-Hub-Signature-256"'
    # A token does not replace a signature.
    problem(await client.post(path, content=PAYLOAD, headers=headers), "unauthenticated")
    assert row_counts(manager_of(application)) == before


@pytest.mark.shared
@pytest.mark.parametrize("place", [0, 1, len(PAYLOAD) // 2, len(PAYLOAD) - 1])
async def test_every_byte_is_signed(sender: httpx.AsyncClient, webhook_id: int, place: int) -> None:
    changed = bytearray(PAYLOAD)
    changed[place] ^= 1
    answer = await deliver(
        sender, webhook_id, bytes(changed), {"X-Hub-Signature-256": signature(PAYLOAD)}
    )
    problem(answer, "unauthenticated")


@pytest.mark.shared
async def test_a_signature_is_over_the_bytes_however_they_are_cut(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    body = '{ "text" : "é\\u00e9💥" ,\r\n "n":[1, 2.50,1E400, -0]}'.encode()
    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    for size in (1, 7, len(body)):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        answer = await sender.post(
            path, content=in_pieces(*pieces), headers=headers_of(body, guid=f"g-{size}")
        )
        assert answer.status_code == 202
        shown = await client.get(answer.headers["location"])
        assert shown.content.endswith(b',"payload":' + body + b"}")


# Which webhooks accept deliveries


@pytest.mark.shared
async def test_only_senders_who_can_sign_learn_that_a_webhook_is_closed(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    deleted = await make_webhook(client)
    await client.delete(f"/api/projects/{deleted['project_id']}")
    await client.patch(f"/api/webhooks/{webhook_id}", json={"is_active": False})
    same: dict[str, str | None] = {"X-Request-ID": "same"}
    answers = [await deliver(sender, n, changes=same) for n in (webhook_id, deleted["id"])]
    assert problem(answers[0], "webhook_not_found")
    assert len({answer.content for answer in answers}) == 1
    await client.patch(f"/api/webhooks/{webhook_id}", json={"is_active": True})
    assert (await deliver(sender, webhook_id)).status_code == 202


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"is_active": False}, "webhook_not_found"),
        ({"secret_token": "another one"}, "unauthenticated"),
        ({"secret_token": None}, "unauthenticated"),
        (None, "webhook_not_found"),
    ],
)
async def test_what_changes_while_a_body_comes_in_counts(
    client: httpx.AsyncClient,
    sender: httpx.AsyncClient,
    application: FastAPI,
    webhook_id: int,
    change: dict[str, Any] | None,
    code: str,
) -> None:
    async def body() -> Any:
        yield PAYLOAD[:5]
        path = f"/api/webhooks/{webhook_id}"
        if change is None:
            assert (await client.delete(path)).status_code == 204
        else:
            assert (await client.patch(path, json=change)).status_code == 200
        yield PAYLOAD[5:]

    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    problem(await sender.post(path, content=body(), headers=headers_of(PAYLOAD)), code)
    assert row_counts(manager_of(application))["webhook_deliveries"] == 0


# Lists


@pytest.mark.shared
async def test_a_list_is_filtered_and_paged_newest_first(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    events = ["push", "ping", "push", "pull_request", "push", "ping", "push"]
    made = []
    for number, event in enumerate(events):
        answer = await deliver(sender, webhook_id, guid=f"g-{number}", event=event)
        made.append(answer.json())
    other = (await make_webhook(client))["id"]
    assert (await deliver(sender, other)).status_code == 202
    path = f"/api/webhooks/{webhook_id}/deliveries"

    async def walk(**params: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while True:
            page = (await client.get(path, params=params)).json()
            assert page.keys() == {"deliveries", "next_cursor"}
            assert len(page["deliveries"]) <= params["limit"]
            items += page["deliveries"]
            if page["next_cursor"] is None:
                return items
            params["cursor"] = page["next_cursor"]

    for limit in (1, 2, 3, 7, 500):
        assert await walk(limit=limit) == made[::-1]
        pushes = [item for item in made[::-1] if item["event"] == "push"]
        assert await walk(limit=limit, event="push") == pushes
    assert await walk(limit=5, guid="g-3") == [made[3]]
    assert await walk(limit=5, guid="g-3", event="push") == []
    assert await walk(limit=5, event="none") == []
    cursor = (await client.get(path, params={"limit": 2, "event": "push"})).json()["next_cursor"]
    for wrong in ({"limit": 2}, {"event": "ping"}, {"event": "push", "guid": "g-1"}):
        answer = await client.get(path, params={**wrong, "cursor": cursor})
        problem(answer, "bad_cursor")
    crossed = f"/api/webhooks/{other}/deliveries"
    problem(await client.get(crossed, params={"event": "push", "cursor": cursor}), "bad_cursor")


async def test_deleting_a_webhook_takes_its_deliveries_along(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI, webhook_id: int
) -> None:
    assert (await deliver(sender, webhook_id)).status_code == 202
    assert (await client.delete(f"/api/webhooks/{webhook_id}")).status_code == 204
    assert row_counts(manager_of(application))["webhook_deliveries"] == 0
