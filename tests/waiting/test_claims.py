"""A claim waits for a run, and a run wakes the first claim that it fits."""

import asyncio
import random

import httpx
import pytest

from backend.services.idempotency import idempotency
from tests.support.clients import new_token
from tests.support.http import make_project, problem
from tests.support.servers import RunningServer
from tests.waiting.waiting import APPLIED, CLAIM, Clients, make_run, until

SHORT = {"Prefer": "wait=1"}


async def projects(user: httpx.AsyncClient, number: int) -> list[int]:
    """The ids of new projects."""
    return [(await make_project(user))["id"] for _ in range(number)]


async def test_a_claim_waits_for_a_run(user: httpx.AsyncClient, clients: Clients) -> None:
    [project_id] = await projects(user, 1)
    asked = await clients.claim(user)
    await user.patch(f"/api/projects/{project_id}/configuration", json={"branch_name": "b"})
    before = clients.waits.asked["claims"]
    run_id = await make_run(user, project_id)
    answer = await asked.answer()
    assert (answer.status_code, answer.headers[APPLIED]) == (200, "wait=60")
    claimed = answer.json()
    assert (claimed["id"], claimed["status"]) == (run_id, "running")
    assert clients.waits.asked["claims"] == before + 1
    beat = {"lease_token": claimed["lease_token"]}
    assert (await user.post(f"/api/agent-runs/{run_id}/heartbeat", json=beat)).status_code == 200


async def test_without_a_run_it_is_204(user: httpx.AsyncClient, clients: Clients) -> None:
    for headers, applied in ((SHORT, "wait=1"), ({"Prefer": "wait=0"}, "wait=0"), ({}, None)):
        answer = await user.post(CLAIM, json={"worker": "w"}, headers=headers)
        assert (answer.status_code, answer.headers.get(APPLIED)) == (204, applied)
        assert answer.content == b""
    # It has cost no claim but its first.
    assert clients.waits.asked["claims"] == 0


async def test_what_is_there_is_given_at_once(user: httpx.AsyncClient) -> None:
    [project_id] = await projects(user, 1)
    runs = [await make_run(user, project_id) for _ in range(3)]
    first = await user.post(CLAIM, json={"worker": "w"}, headers={"Prefer": "wait=60"})
    assert (first.json()["id"], first.headers[APPLIED]) == (runs[0], "wait=60")
    some = await user.post(CLAIM, json={"worker": "w", "count": 5}, headers={"Prefer": "wait=9"})
    assert [run["id"] for run in some.json()["agent_runs"]] == runs[1:]
    wrong = await user.post(CLAIM, json={"worker": 1}, headers={"Prefer": "wait=60"})
    problem(wrong, "validation_failed")


async def test_the_first_that_fits_gets_the_run(
    user: httpx.AsyncClient, clients: Clients, server: RunningServer
) -> None:
    first, second, third = await projects(user, 3)
    token = await new_token(user, "runs:write", project_ids=[third])
    async with server.async_client(token) as bound:
        of_third = await clients.claim(bound, "bound")
        of_second = await clients.claim(user, "second", project_ids=[second, third])
        of_all = [await clients.claim(user, f"all {number}", count=2) for number in range(2)]
        for project_id, asked in (
            (first, of_all[0]),
            (second, of_second),
            (second, of_all[1]),
            (third, of_third),
        ):
            run_id = await make_run(user, project_id)
            answer = (await asked.answer()).json()
            [run] = answer.get("agent_runs", [answer])
            assert (run["id"], run["project_id"]) == (run_id, project_id)
    assert clients.waits.asked["claims"] == 4


async def test_who_leaves_gets_nothing(user: httpx.AsyncClient, clients: Clients) -> None:
    [project_id] = await projects(user, 1)
    first, second = [await clients.claim(user, name) for name in ("first", "second")]
    short = asyncio.create_task(user.post(CLAIM, json={"worker": "short"}, headers=SHORT))
    await first.leave()
    await until(lambda: clients.waits.ended["client"] == 1)
    assert (await short).status_code == 204
    run_id = await make_run(user, project_id)
    assert (await second.answer()).json()["id"] == run_id
    assert clients.waits.open() == {"reads": 0, "claims": 0}


async def test_a_claim_with_a_key_waits_and_is_repeated(
    user: httpx.AsyncClient, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    [project_id] = await projects(user, 1)
    key = {"Idempotency-Key": "one"}
    none = await user.post(CLAIM, json={"worker": "w"}, headers={**key, **SHORT})
    assert none.status_code == 204
    asked = await clients.claim(user, headers=key)
    monkeypatch.setattr(idempotency, "PATIENCE_SECONDS", 0.01)
    again = await user.post(CLAIM, json={"worker": "w"}, headers={**key, "Prefer": "wait=60"})
    problem(again, "idempotency_in_progress")
    run_id = await make_run(user, project_id)
    answer = await asked.answer()
    assert (answer.json()["id"], answer.headers[APPLIED]) == (run_id, "wait=60")
    assert "idempotency-replayed" not in answer.headers
    await make_run(user, project_id)
    for headers, applied in (({}, None), ({"Prefer": "wait=5"}, "wait=5")):
        replayed = await user.post(CLAIM, json={"worker": "w"}, headers={**key, **headers})
        assert replayed.headers["idempotency-replayed"] == "true"
        assert (replayed.status_code, replayed.content) == (200, answer.content)
        assert replayed.headers.get(APPLIED) == applied


async def test_a_run_that_was_taken_back_wakes_too(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    [project_id] = await projects(user, 1)
    run_id = await make_run(user, project_id)
    lost = await user.post(CLAIM, json={"worker": "lost", "lease_seconds": 1})
    assert lost.json()["id"] == run_id
    asked = await clients.claim(user)
    assert (await asked.answer()).json()["id"] == run_id


async def test_the_runs_of_a_restored_project_wake_one_after_the_other(
    user: httpx.AsyncClient, clients: Clients
) -> None:
    [project_id] = await projects(user, 1)
    runs = [await make_run(user, project_id) for _ in range(3)]
    await user.delete(f"/api/projects/{project_id}")
    asked = [await clients.claim(user) for _ in range(4)]
    await user.post(f"/api/projects/{project_id}/restore")
    given = [(await one.answer()).json()["id"] for one in asked[:3]]
    assert given == runs
    assert not asked[3].task.done()


async def test_no_run_stays_while_claims_wait(user: httpx.AsyncClient) -> None:
    ids = await projects(user, 4)
    made = 60
    claimed: list[int] = []
    of_one: list[dict[str, object]] = [{"project_ids": [id]} for id in ids]
    filters: list[dict[str, object]] = [{}, {"count": 3}, *of_one]

    async def work(number: int) -> None:
        body = {"worker": f"w{number}", **filters[number % len(filters)]}
        while True:
            answer = await user.post(CLAIM, json=body, headers={"Prefer": "wait=60"})
            if answer.status_code == 200:
                runs = answer.json().get("agent_runs", [answer.json()])
                claimed.extend(run["id"] for run in runs)

    workers = [asyncio.create_task(work(number)) for number in range(12)]
    chosen = random.Random(7)  # noqa: S311 - for repetition
    runs = []
    for _ in range(made // 3):
        some = [make_run(user, chosen.choice(ids)) for _ in range(3)]
        runs += await asyncio.gather(*some)
    await until(lambda: len(claimed) == made)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    assert sorted(claimed) == sorted(runs)
