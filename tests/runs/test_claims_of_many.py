"""A claim of several runs returns the same runs as that many single claims."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from backend.schemas.runs import MAX_CLAIM_COUNT
from tests.support.api import Api, Json, open_api
from tests.support.clients import client_of
from tests.support.clocks import SetClock


async def claim_many(api: Api, count: int, **fields: Any) -> list[Json]:
    """The claimed runs; there must be at least one."""
    answer = await api.claim(count=count, **fields)
    assert answer.keys() == {"agent_runs"}
    runs: list[Json] = answer["agent_runs"]
    return runs


def ids(runs: list[Json]) -> list[int]:
    return [run["id"] for run in runs]


async def test_each_run_has_a_lease_of_its_own(api: Api, clock: SetClock) -> None:
    made = [await api.new_run(metadata={"n": n}) for n in range(5)]
    clock.advance(5)
    claimed = await claim_many(api, 3, worker="agent-7", lease_seconds=90)
    tokens = [run.pop("lease_token") for run in claimed]
    assert claimed == [
        {
            **run,
            "status": "running",
            "started_at": clock.text(),
            "updated_at": clock.text(),
            "version": 2,
            "lease_expires_at": clock.text(90),
        }
        for run in made[:3]
    ]
    assert len(set(tokens)) == 3
    for run, token in zip(claimed, tokens, strict=True):
        assert (await api.heartbeat(run["id"], token))["id"] == run["id"]
    assert (await api.heartbeat(1, tokens[1], 409))["code"] == "lease_lost"
    assert [entry for entry in await api.actions() if entry[1] == "agent_run.claimed"] == [
        ("anonymous", "agent_run.claimed", f"agent_runs/{id}") for id in (1, 2, 3)
    ]


async def test_fewer_are_given_when_fewer_wait_and_nothing_when_none_does(api: Api) -> None:
    for _ in range(2):
        await api.new_run()
    assert ids(await claim_many(api, MAX_CLAIM_COUNT)) == [1, 2]
    await api.claim_nothing(count=1)
    await api.claim_nothing(count=MAX_CLAIM_COUNT)


async def test_a_claim_ends_when_its_json_passes_what_a_page_may_have(api: Api) -> None:
    other = await api.new_project("other")
    for _ in range(4):
        # Each run takes 1 MB as JSON.
        await api.new_run(planning_statement="\n" * 500_000)
        await api.new_run(project_id=other, planning_statement="é" * 500_000)
    assert ids(await claim_many(api, MAX_CLAIM_COUNT)) == [1, 2, 3, 4, 5]
    assert (await api.run(6))["status"] == "pending"
    # It is the other project's turn, as after five single claims.
    assert ids(await claim_many(api, 2)) == [6, 7]
    assert ids(await claim_many(api, MAX_CLAIM_COUNT)) == [8]
    await api.claim_nothing(count=1)


async def test_the_answer_is_a_list_for_any_count_and_a_run_without_one(api: Api) -> None:
    for _ in range(3):
        await api.new_run()
    assert ids(await claim_many(api, 1)) == [1]
    assert (await api.claim(count=None))["id"] == 2
    assert (await api.claim())["id"] == 3


async def test_projects_take_turns_within_a_claim(api: Api) -> None:
    second, third = await api.new_project("second"), await api.new_project("third")
    for project_id in (1, 1, 1, 1, second, second, third):
        await api.new_run(project_id)
    assert ids(await claim_many(api, 6)) == [1, 5, 7, 2, 6, 3]


async def test_a_worker_may_keep_to_some_projects(api: Api) -> None:
    second = await api.new_project("second")
    for project_id in (1, second, 1, second):
        await api.new_run(project_id)
    assert ids(await claim_many(api, 10, project_ids=[second])) == [2, 4]
    assert ids(await claim_many(api, 10, project_ids=[second, 1, 99])) == [1, 3]


async def test_runs_that_ran_out_are_claimed_in_their_old_place(api: Api, clock: SetClock) -> None:
    for _ in range(4):
        await api.new_run()
    await claim_many(api, 2, lease_seconds=30)
    clock.advance(30)
    assert ids(await claim_many(api, 3)) == [1, 2, 3]


async def make_backlog(api: Api, chance: random.Random) -> None:
    """Projects with runs of every status; some projects were served before."""
    projects = [1, *[await api.new_project(f"p{n}") for n in range(chance.randint(0, 6))]]
    for _ in range(chance.randint(11, 30)):
        await api.new_run(chance.choice(projects))
    for _ in range(chance.randint(0, 10)):
        await api.claim()
    for run in (await api.get("/api/agent-runs?status=pending&limit=500"))["agent_runs"]:
        if chance.random() < 0.3:
            await api.step(run["id"], chance.choice(["cancelled", "running"]))
    if len(projects) > 2:
        await api.call("DELETE", f"/api/projects/{projects[-1]}", status=204)


async def claim_one_by_one(api: Api, count: int) -> list[int]:
    """The runs of at most `count` single claims."""
    found = []
    for _ in range(count):
        answer = await api.client.post("/api/agent-runs/claim", json={"worker": "w"})
        if answer.status_code == 204:
            break
        found.append(answer.json()["id"])
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_it_gives_what_single_claims_give(
    database_path: Path, another_path: Path, clock: SetClock, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - it makes examples
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        await make_backlog(api, chance)
    shutil.copyfile(database_path, another_path)
    counts = [chance.randint(1, 12) for _ in range(4)]
    many = []
    async with open_api(database_path, clock) as api:
        single = [await claim_one_by_one(api, count) for count in counts]
    async with open_api(another_path, clock) as api:
        for count in counts:
            answer = await api.client.post(
                "/api/agent-runs/claim", json={"worker": "w", "count": count}
            )
            many.append([] if answer.status_code == 204 else ids(answer.json()["agent_runs"]))
    assert many == single


async def test_the_document_has_both_shapes(application: FastAPI) -> None:
    async with client_of(application) as anybody:
        document = (await anybody.get("/openapi.json")).json()
    answers = document["paths"]["/api/agent-runs/claim"]["post"]["responses"]
    shapes = answers["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert [shape["$ref"].rpartition("/")[2] for shape in shapes] == ["ClaimedRun", "ClaimedRuns"]
