"""A claim whose answer was lost is had again."""

import httpx
import pytest
from fastapi import FastAPI

from tests.idempotency.support import is_replayed, post, said, stored_answers
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.http import manager_of, new_project

CLAIM = "/api/agent-runs/claim"


async def test_the_same_run_comes_with_the_same_lease(api: Api) -> None:
    for _ in range(2):
        await api.new_run()
    first = await post(api.client, CLAIM, {"worker": "w"})
    again = await post(api.client, CLAIM, {"worker": "w"})
    assert said(again) == said(first)
    assert is_replayed(again)
    await api.heartbeat(first.json()["id"], again.json()["lease_token"])
    assert (await post(api.client, CLAIM, {"worker": "w"}, "next")).json()["id"] == 2


async def test_a_claim_without_a_run_may_be_made_again(api: Api) -> None:
    assert (await post(api.client, CLAIM, {"worker": "w"})).status_code == 204
    await api.new_run()
    answer = await post(api.client, CLAIM, {"worker": "w"})
    assert (answer.status_code, is_replayed(answer)) == (200, False)


async def test_an_expired_lease_is_taken_back_first(api: Api, clock: SetClock) -> None:
    await api.new_run()
    lost = await post(api.client, CLAIM, {"worker": "w", "lease_seconds": 30})
    clock.advance(31)
    again = await post(api.client, CLAIM, {"worker": "x"}, "next")
    assert again.json()["id"] == lost.json()["id"]
    assert again.json()["lease_token"] != lost.json()["lease_token"]
    assert api.service.claims.expired_leases == {"requeued": 1}
    actors = [(actor, action) for actor, action, _ in await api.actions()]
    assert actors[-2:] == [
        ("system", "agent_run.requeued"),
        ("anonymous", "agent_run.claimed"),
    ]


@pytest.mark.parametrize("purged", [0, 1, 2])
async def test_a_claim_of_several_goes_with_each_of_its_projects(
    client: httpx.AsyncClient, application: FastAPI, purged: int
) -> None:
    for id in (1, 2, 3):
        await client.post("/api/projects", json=new_project())
        await client.post("/api/agent-runs", json={"project_id": id, "target_text": "t"})
    answer = await post(client, CLAIM, {"worker": "w", "count": 10})
    ids = [run["project_id"] for run in answer.json()["agent_runs"]]
    assert sorted(ids) == [1, 2, 3]
    assert is_replayed(await post(client, CLAIM, {"worker": "w", "count": 10}))
    assert (await client.delete(f"/api/projects/{ids[purged]}?purge=true")).status_code == 204
    assert stored_answers(application) == []
    rows = manager_of(application).execute_query("SELECT * FROM stored_answer_projects")
    assert rows == []
