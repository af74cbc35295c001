"""A GET with If-None-Match waits until there is something else to tell."""

import asyncio
import time

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from backend.http.waiting import questions, waits
from backend.http.waiting.waiter import WAITED
from tests.support.clients import new_token
from tests.support.http import make_project, problem, service_of
from tests.support.servers import RunningServer
from tests.waiting.waiting import APPLIED, LONG, Clients, make_run

UNSEEN = '"v0"'


async def test_it_is_answered_once_there_is_something_else(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    asked = await clients.read(user, path, tag)
    assert (await user.patch(path, json={"name": "other"})).status_code == 200
    answer = await asked.answer()
    assert answer.status_code == 200
    assert answer.json()["name"] == "other"
    assert answer.headers[APPLIED] == "wait=60"
    ordinary = await user.get(path)
    assert answer.content == ordinary.content
    assert {**answer.headers, "x-request-id": "", "date": ""} == {
        **ordinary.headers,
        APPLIED: "wait=60",
        "x-request-id": "",
        "date": "",
    }


@pytest.mark.parametrize("path", ["/api/projects/1", "/api/projects?limit=500", "/api/logs"])
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
async def test_without_anything_else_it_is_304(
    user: httpx.AsyncClient, path: str, accepted: str
) -> None:
    for _ in range(20):
        await make_project(user, name="n" * 200)
    headers = {"Accept-Encoding": accepted}
    headers["If-None-Match"] = (await user.get(path)).headers["ETag"]
    answer = await user.get(path, headers={**headers, "Prefer": "wait=1"})
    ordinary = await user.get(path, headers=headers)
    assert answer.status_code == ordinary.status_code == 304
    assert answer.headers[APPLIED] == "wait=1"
    assert answer.content == b""
    own = {name: value for name, value in answer.headers.items() if name != APPLIED}
    varying = {"x-request-id": "", "date": ""}
    assert {**own, **varying} == {**ordinary.headers, **varying}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_new_already_is_answered_at_once(
    user: httpx.AsyncClient, method: str
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    headers = {"Prefer": "wait=7200", "If-None-Match": UNSEEN}
    answer = await user.request(method, path, headers=headers)
    assert (answer.status_code, answer.headers[APPLIED]) == (200, "wait=60")
    none = await user.request(
        method, path, headers={"Prefer": "wait=0", "If-None-Match": answer.headers["ETag"]}
    )
    assert (none.status_code, none.headers[APPLIED]) == (304, "wait=0")


async def test_elsewhere_the_preference_is_ignored(user: httpx.AsyncClient) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    # Once so that the answer is kept, and once so that the kept one is sent.
    for _ in range(2):
        for status, headers in (
            (200, LONG),
            (200, {**LONG, "If-None-Match": tag, "If-Match": '"v9"'}),
            (304, {"Prefer": "wait", "If-None-Match": tag}),
            (304, {"Prefer": "wait=soon", "If-None-Match": tag}),
            (304, {"If-None-Match": tag}),
        ):
            answer = await user.get(path, headers=headers)
            assert answer.status_code == (412 if "If-Match" in headers else status)
            assert APPLIED not in answer.headers
    for other in ("/api/tokens", "/api/me", "/health"):
        answer = await user.get(other, headers={**LONG, "If-None-Match": "*"})
        assert answer.status_code == 200
        assert APPLIED not in answer.headers
    assert (await user.patch(path, json={"name": "x"}, headers=LONG)).status_code == 200
    problem(await user.get(path, headers={**LONG, "If-None-Match": "v1"}), "bad_request")
    problem(
        await user.get(path + "?x=1", headers={**LONG, "If-None-Match": tag}), "validation_failed"
    )


async def test_a_kept_answer_says_nothing_of_a_wait(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    # The answer is kept now, but a 304 made of it must not be sent at once.
    asked = await clients.read(user, path, tag)
    assert not asked.task.done()
    await user.patch(path, json={"name": "other"})
    assert (await asked.answer()).status_code == 200
    for _ in range(2):
        assert APPLIED not in (await user.get(path)).headers


async def test_what_is_no_longer_there_is_told_at_once(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    project_id = (await make_project(user))["id"]
    run_id = await make_run(user, project_id)
    paths = [f"/api/projects/{project_id}", f"/api/agent-runs/{run_id}/pipeline-states"]
    tags = [(await user.get(path)).headers["ETag"] for path in paths]
    asked = [
        await clients.read(user, path, known)
        for path, tag in zip(paths, tags, strict=True)
        for known in (tag, "*")
    ]
    assert (await user.delete(f"/api/projects/{project_id}?purge=true")).status_code == 204
    codes = ["project_not_found"] * 2 + ["agent_run_not_found"] * 2
    for one, code in zip(asked, codes, strict=True):
        problem(await one.answer(), code)


async def test_many_who_ask_the_same_are_asked_for_once(
    user: httpx.AsyncClient, clients: Clients, server: RunningServer
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    other = await new_token(user, "admin")
    async with server.async_client(other) as second:
        asked = [
            await clients.read(client, path, known)
            for client in (user, second)
            for known in (tag, f'"v7", W/{tag}')
            for _ in range(5)
        ]
        goes_on = await clients.read(user, path, "*")
        before = clients.waits.asked["reads"]
        await user.patch(path, json={"name": "other"})
        answers = [await one.answer() for one in asked]
    assert clients.waits.asked["reads"] == before + 1
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content for answer in answers} == {(await user.get(path)).content}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 20
    assert not goes_on.task.done()


async def test_who_comes_back_with_the_news_is_not_asked_for(
    user: httpx.AsyncClient, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machine may be busy.
    monkeypatch.setattr(waits, "LINGER_SECONDS", 60.0)
    path = f"/api/projects/{(await make_project(user))['id']}"
    tag = (await user.get(path)).headers["ETag"]
    for number in range(3):
        asked = [await clients.read(user, path, tag) for _ in range(8)]
        # Only the very first one had to be.
        assert clients.waits.asked["arrivals"] == 1
        await user.patch(path, json={"name": f"name {number}"})
        tags = {(await one.answer()).headers["ETag"] for one in asked}
        assert len(tags) == 1
        [tag] = tags
    assert clients.waits.asked["reads"] == 3
    # What was written is read, whatever is remembered.
    await user.patch(path, json={"name": "last"})
    answer = await user.get(path, headers={**LONG, "If-None-Match": tag})
    assert answer.json()["name"] == "last"
    assert clients.waits.asked["arrivals"] == 2
    await user.delete(f"{path}?purge=true")
    gone = await user.get(path, headers={**LONG, "If-None-Match": answer.headers["ETag"]})
    problem(gone, "project_not_found")


async def test_runs_that_retention_removes_are_told(
    user: httpx.AsyncClient, clients: Clients, server: RunningServer
) -> None:
    project_id = (await make_project(user))["id"]
    run_id = await make_run(user, project_id)
    await user.post(f"/api/agent-runs/{run_id}/cancel")
    lists = ["/api/agent-runs", f"/api/projects/{project_id}/agent-runs"]
    asked = [
        await clients.read(user, path, (await user.get(path)).headers["ETag"])
        for path in (f"/api/agent-runs/{run_id}", *lists)
    ]
    removing = server.submit(service_of(server.app).retention.remove_runs_beyond(0, 10))
    assert await asyncio.wrap_future(removing) == 1
    assert [(await one.answer()).status_code for one in asked] == [404, 200, 200]


async def test_a_question_is_asked_ten_times_a_second_at_most(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    # Its tag is always known, so that it goes on waiting while much happens.
    await clients.read(user, "/api/projects", "*")
    began = time.monotonic()
    for _ in range(60):
        await make_project(user)
    asked = clients.waits.asked["reads"]
    assert 1 <= asked <= 2 + (time.monotonic() - began) / questions.BETWEEN_SECONDS
    assert questions.BETWEEN_SECONDS >= 1 / 9


async def test_nobody_is_woken_for_what_another_project_does(
    user: httpx.AsyncClient, clients: Clients, server: RunningServer
) -> None:
    first, second = [(await make_project(user))["id"] for _ in range(2)]
    run_id = await make_run(user, first)
    bound = await new_token(user, "projects:read", "runs:read", project_ids=[first])
    async with server.async_client(bound) as other:
        asked = []
        for path in ("/api/projects", f"/api/projects/{first}", f"/api/agent-runs/{run_id}"):
            tag = (await other.get(path)).headers["ETag"]
            asked.append(await clients.read(other, path, tag))
        await user.patch(f"/api/projects/{second}", json={"name": "other"})
        await make_run(user, second)
        # A list is asked again, and the answer is the same; the others are not asked.
        assert clients.waits.asked["reads"] <= 2
        assert not any(one.task.done() for one in asked)
        await user.patch(f"/api/projects/{first}", json={"name": "other"})
        await user.patch(f"/api/agent-runs/{run_id}", json={"target_text": "other"})
        for one in asked:
            assert (await one.answer()).status_code == 200


async def test_the_time_of_a_wait_is_not_counted_as_work(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    path = f"/api/projects/{(await make_project(client))['id']}"
    tag = (await client.get(path)).headers["ETag"]
    scopes: list[Scope] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await application(scope, receive, send)

    headers = {**client.headers, "Prefer": "wait=1", "If-None-Match": tag}
    transport = httpx.ASGITransport(noting)
    async with httpx.AsyncClient(transport=transport, base_url=client.base_url) as other:
        began = time.perf_counter()
        assert (await other.get(path, headers=headers)).status_code == 304
        took = time.perf_counter() - began
    waited = scopes[0][WAITED]
    assert 0 < waited < took
    text = (await client.get("/metrics")).text
    labels = '{method="GET",route="/api/projects/{project_id}",status="304"}'
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if labels in line)
    assert float(values[f"strongroom_request_duration_seconds_count{labels}"]) == 1
    assert float(values[f"strongroom_request_duration_seconds_sum{labels}"]) < took - waited


async def test_a_change_while_it_looks_is_not_missed(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    path = f"/api/projects/{(await make_project(user))['id']}"

    async def follow() -> int:
        tag, answers = UNSEEN, 0
        while (answer := await user.get(path, headers={**LONG, "If-None-Match": tag})).json()[
            "name"
        ] != "last":
            assert answer.headers["ETag"] != tag
            tag, answers = answer.headers["ETag"], answers + 1
        return answers

    followers = [asyncio.create_task(follow()) for _ in range(8)]
    for number in range(40):
        await user.patch(path, json={"name": f"name {number}"})
    await user.patch(path, json={"name": "last"})
    async with asyncio.timeout(60):
        assert all([await follower for follower in followers])
    assert clients.waits.open()["reads"] == 0
