"""A paused run goes on: by a user's message, or by `continue`."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.messages.support import PATH, contents, make_run, paused_run, say, send
from tests.support.api import Api, Json
from tests.support.clients import client_of, new_token
from tests.support.clocks import SetClock
from tests.support.http import problem
from tests.waiting.waiting import clients_of

CONTINUE = "/api/agent-runs/1/continue"
ANSWER = {"role": "user", "content": "the second one", "continue": True}
WAYS: list[tuple[str, Any, int]] = [
    (PATH, ANSWER, 201),
    (CONTINUE, {"message": "the second one"}, 200),
    (CONTINUE, {}, 200),
    (CONTINUE, None, 200),
]
"""The calls that let a run go on."""


async def kinds(api: Api) -> list[str]:
    return [action for _, action, _ in await api.actions()]


@pytest.mark.parametrize(("path", "body", "status"), WAYS)
async def test_a_paused_run_goes_on_with_its_worker(
    api: Api, clock: SetClock, path: str, body: Any, status: int
) -> None:
    claimed = await paused_run(api)
    before = await api.run(1)
    clock.advance(1000)
    answer = await api.post(path, body, status)
    run = await api.run(1)
    assert (run["status"], run["version"]) == ("running", before["version"] + 1)
    assert run["started_at"] == before["started_at"]
    assert (answer == run) is (path == CONTINUE)
    has_message = bool(body)
    assert await contents(api) == ["the second one"] * has_message
    if has_message:
        assert (await api.get(PATH))["messages"][0]["role"] == "user"
    last = ["agent_run.resumed", "message.added"][: 1 + has_message]
    assert (await kinds(api))[-len(last) :] == last
    # The lease has its full time again, and its token is still good.
    clock.advance(29)
    assert await api.service.claims.expire_leases() == 0
    await api.heartbeat(1, claimed["lease_token"])


async def test_if_the_worker_is_gone_another_one_finds_the_answer(
    api: Api, clock: SetClock
) -> None:
    claimed = await paused_run(api)
    clock.advance(1000)
    await say(api, "the second one", **{"continue": True})
    clock.advance(31)
    assert await api.service.claims.expire_leases() == 1
    again = await api.claim()
    assert (again["id"], again["lease_token"] == claimed["lease_token"]) == (1, False)
    assert await contents(api, "?role=user&after_id=0") == ["the second one"]


async def test_a_run_without_a_lease_just_goes_on(api: Api, clock: SetClock) -> None:
    await api.new_run()
    await api.step(1, "running")
    await api.step(1, "paused")
    assert (await api.post(CONTINUE))["status"] == "running"
    clock.advance(100_000)
    assert await api.service.claims.expire_leases() == 0


@pytest.mark.parametrize(
    ("steps", "allowed"),
    [
        ([], ["running", "cancelled", "failed"]),
        (["running"], ["paused", "completed", "failed", "cancelled"]),
        (["running", "completed"], []),
        (["running", "failed"], []),
        (["cancelled"], []),
    ],
)
async def test_only_a_paused_run_can_be_continued(
    api: Api, steps: list[str], allowed: list[str]
) -> None:
    await api.new_run()
    for step in steps:
        await api.step(1, step)
    before, actions = await api.run(1), await kinds(api)
    for path, body, _ in WAYS:
        refused = await api.post(path, body, 409)
        assert refused["code"] == "invalid_transition"
        assert (refused["current"], refused["allowed"]) == (before["status"], allowed)
    assert await api.run(1) == before
    assert await contents(api) == []
    assert await kinds(api) == actions


async def test_a_message_that_a_run_does_not_take_lets_it_not_go_on(api: Api) -> None:
    await paused_run(api)
    for path, body in (
        (PATH, {**ANSWER, "role": "agent"}),
        (PATH, {**ANSWER, "content": "x" * 50_001}),
        (CONTINUE, {"message": ""}),
        (CONTINUE, {"message": "a\0"}),
        (CONTINUE, {"content": "x"}),
    ):
        await api.post(path, body, 422)
    for path, body in ((PATH, ANSWER), (CONTINUE, {})):
        lost = await api.post(path, {**body, "lease_token": "another"}, 409)
        assert lost["code"] == "lease_lost"
    assert (await api.run(1))["status"] == "paused"
    assert await contents(api) == []
    # Null is no message.
    await api.post(CONTINUE, {"message": None})
    assert await contents(api) == []


async def test_another_version_of_the_run_is_refused_first(api: Api) -> None:
    await api.new_run()
    await api.step(1, "running")
    for path, body, success in WAYS:
        # First it is running, which is a conflict, and then paused.
        for status in (409, success):
            before = await contents(api)
            tag = (await api.client.get("/api/agent-runs/1")).headers["ETag"]
            stale = await api.client.post(path, json=body, headers={"If-Match": '"v1"'})
            assert problem(stale, "version_mismatch")["etag"] == tag
            assert await contents(api) == before
            present = await api.client.post(path, json=body, headers={"If-Match": tag})
            assert present.status_code == status, present.text
            if status == 409:
                await api.step(1, "paused")


async def test_a_message_can_be_meant_for_one_version_of_its_run(api: Api) -> None:
    await api.new_run()
    body = {"role": "user", "content": "not yet"}
    tag = (await api.client.get("/api/agent-runs/1")).headers["ETag"]
    await api.step(1, "running")
    stale = await api.client.post(PATH, json=body, headers={"If-Match": tag})
    problem(stale, "version_mismatch")
    assert await contents(api) == []


@pytest.mark.parametrize(("path", "body", "success"), WAYS[:2])
async def test_of_several_who_answer_at_once_one_lets_the_run_go_on(
    client: httpx.AsyncClient, path: str, body: Any, success: int
) -> None:
    assert await make_run(client) == PATH
    for step in ("running", "paused"):
        await client.post("/api/agent-runs/1/transitions", json={"to": step})
    before = (await client.get("/api/agent-runs/1")).json()["version"]
    answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [success] + [409] * 15
    for answer in answers:
        if answer.status_code == 409:
            assert problem(answer, "invalid_transition")["current"] == "running"
    assert (await client.get("/api/agent-runs/1")).json()["version"] == before + 1
    assert len((await client.get(PATH)).json()["messages"]) == 1
    for kind in ("agent_run.resumed", "message.added"):
        assert len((await client.get(f"/api/events?kind={kind}")).json()["events"]) == 1


@pytest.mark.parametrize(("path", "body", "success"), WAYS[:2])
async def test_an_answer_that_is_sent_again_has_one_effect(
    client: httpx.AsyncClient, path: str, body: Any, success: int
) -> None:
    await make_run(client)
    for step in ("running", "paused"):
        await client.post("/api/agent-runs/1/transitions", json={"to": step})
    key = {"Idempotency-Key": "an-answer"}
    answers = [await client.post(path, json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [success] * 2
    assert answers[0].content == answers[1].content
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert len((await client.get(PATH)).json()["messages"]) == 1


async def test_a_worker_that_waits_hears_of_the_answer(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_run(client)
    claimed = (await client.post("/api/agent-runs/claim", json={"worker": "w"})).json()
    run = f"/api/agent-runs/{claimed['id']}"
    paused = await client.post(f"{run}/transitions", json={"to": "paused"})
    listed = (await client.get(PATH)).headers["ETag"]
    async with clients_of(application) as clients:
        waits = await clients.read(client, run, paused.headers["ETag"])
        reads = await clients.read(client, PATH, listed)
        assert (await client.post(PATH, json=ANSWER)).status_code == 201
        assert (await waits.answer()).json()["status"] == "running"
        messages: list[Json] = (await reads.answer()).json()["messages"]
        assert [message["content"] for message in messages] == ["the second one"]


async def test_a_token_of_another_project_lets_no_run_go_on(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_run(client)
    await make_run(client)
    await send(client, PATH, "not for everybody")
    for step in ("running", "paused"):
        await client.post("/api/agent-runs/1/transitions", json={"to": step})
    token = await new_token(client, "runs:read", "runs:write", project_ids=[2])
    async with client_of(application, token) as other:
        for path, body, _ in WAYS:
            problem(await other.post(path, json=body), "agent_run_not_found")
        problem(await other.get(PATH), "agent_run_not_found")
        await send(other, "/api/agent-runs/2/messages", "for its own")
    assert (await client.get("/api/agent-runs/1")).json()["status"] == "paused"
    assert len((await client.get(PATH)).json()["messages"]) == 1
