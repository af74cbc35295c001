"""Lists of projects tell what the runs of each are like."""

import random
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from backend.repositories.project_runs import RUNS
from backend.schemas.projects import CurrentRun, ProjectRuns
from database.engine import JsonObject
from tests.support.api import Api
from tests.support.clients import AsToken
from tests.support.clocks import SetClock
from tests.support.http import make_project, places, problem, walk

LIST = "/api/projects?include=runs"
ACTIVE = ("running", "paused", "pending")
Json = dict[str, Any]
NO_RUNS = {
    "total": 0,
    "active": 0,
    "success_rate": None,
    "current": None,
    "last_completed_at": None,
}


def test_the_members_are_those_of_the_document() -> None:
    assert [name for name, _, _ in RUNS.members] == list(ProjectRuns.model_fields)
    [current] = [kind for _, _, kind in RUNS.members if isinstance(kind, JsonObject)]
    assert [name for name, _, _ in current.members] == list(CurrentRun.model_fields)


def expected(runs: Iterable[Json], last: str | None) -> Json:
    """What docs/agent-runs.md says of a project with these runs, the last of which ended then."""
    runs = sorted(runs, key=lambda run: run["id"])
    of = {status: [run for run in runs if run["status"] == status] for status in ACTIVE}
    completed, failed = (
        sum(run["status"] == status for run in runs) for status in ("completed", "failed")
    )
    current = [*of["pending"][:1], *of["paused"][-1:], *of["running"][-1:]][-1:]
    return {
        "total": len(runs),
        "active": sum(map(len, of.values())),
        "success_rate": completed / (completed + failed) if completed + failed else None,
        "current": {name: current[0][name] for name in CurrentRun.model_fields}
        if current
        else None,
        "last_completed_at": last,
    }


class World:
    """Runs that change at random, and when one of each project ended last."""

    def __init__(self, api: Api, clock: SetClock, seed: int) -> None:
        self.api = api
        self.clock = clock
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.projects = [1]
        self.last: dict[int, str] = {}

    async def change(self) -> None:
        """Change something."""
        chance, api = self.chance, self.api
        self.clock.advance(chance.choice((0, 1, 40)))
        match chance.randrange(12):
            case 0:
                self.projects.append(await api.new_project(f"p{chance.randrange(10**9)}"))
            case 1 | 2 | 3:
                await api.new_run(chance.choice(self.projects))
            case 4 | 5:
                claim = {"worker": "w", "count": chance.randint(1, 3), "lease_seconds": 30}
                await api.client.post("/api/agent-runs/claim", json=claim)
            case 6:
                await api.service.claims.expire_leases()
            case 7:
                one = chance.choice(self.projects)
                if one != 1 and chance.random() < 0.3:
                    await api.call("DELETE", f"/api/projects/{one}?purge=true", status=204)
                    self.projects.remove(one)
            case _:
                to = chance.choice(("running", "paused", "completed", "failed", "cancelled"))
                runs = (await api.get("/api/agent-runs?limit=500"))["agent_runs"]
                if runs:
                    path = f"/api/agent-runs/{chance.choice(runs)['id']}"
                    await api.client.post(f"{path}/transitions", json={"to": to})
                    await api.client.patch(path, json={"pr_number": chance.randint(1, 99)})

    async def check(self) -> None:
        """Read a list, and compare it."""
        chance = self.chance
        params = {
            "sort": chance.choice(("created_at", "-created_at", "name", "-updated_at")),
            "limit": chance.choice((1, 2, 50)),
            **chance.choice(({}, {"q": "p"}, {"status": "active"}, {"owner": "acme"})),
        }
        plain = await walk(self.api.client, "/api/projects", "projects", **params)
        params["include"] = "runs"
        found = await walk(self.api.client, "/api/projects", "projects", **params)
        runs = (await self.api.get("/api/agent-runs?limit=500"))["agent_runs"]
        for run in runs:
            if run["completed_at"] is not None:
                id = run["project_id"]
                self.last[id] = max(self.last.get(id, ""), run["completed_at"])
        assert found == [
            {
                **project,
                "runs": expected(
                    (run for run in runs if run["project_id"] == project["id"]),
                    self.last.get(project["id"]),
                ),
            }
            for project in plain
        ]


@pytest.mark.parametrize("steps", [80, pytest.param(600, marks=pytest.mark.long_form)])
async def test_whatever_happens_to_runs_a_list_tells_it(
    api: Api, clock: SetClock, steps: int
) -> None:
    world = World(api, clock, seed=steps)
    for step in range(steps):
        await world.change()
        if step % 3 == 0:
            await world.check()
    await world.check()
    assert len(world.last) > 1


async def test_a_run_that_is_being_worked_on_comes_first(api: Api) -> None:
    async def runs() -> Json:
        found: Json = (await api.get(LIST))["projects"][0]["runs"]
        return found

    async def current() -> Any:
        found = (await runs())["current"]
        return found and (found["id"], found["status"])

    assert await runs() == NO_RUNS
    for _ in range(4):
        await api.new_run()
    assert await current() == (1, "pending")
    await api.step(2, "running")
    await api.step(1, "running")
    assert await current() == (2, "running")
    await api.step(2, "paused")
    assert await current() == (1, "running")
    await api.step(1, "paused")
    assert await current() == (2, "paused")
    for id, to in ((1, "failed"), (2, "cancelled")):
        last = (await api.step(id, to))["completed_at"]
    assert await current() == (3, "pending")
    for id in (3, 4):
        await api.step(id, "running")
    last = (await api.step(3, "completed"))["completed_at"]
    assert await current() == (4, "running")
    await api.step(4, "cancelled")
    assert await runs() == {
        "total": 4,
        "active": 0,
        "success_rate": 0.5,
        "current": None,
        "last_completed_at": last,
    }


async def test_a_deleted_project_tells_of_its_runs_too(api: Api) -> None:
    await api.new_run()
    await api.call("DELETE", "/api/projects/1", status=204)
    [project] = (await api.get(f"{LIST}&status=deleted"))["projects"]
    assert project["runs"]["current"]["id"] == 1


async def test_without_it_no_project_tells_of_runs(api: Api) -> None:
    assert "runs" not in (await api.get("/api/projects"))["projects"][0]


@pytest.mark.shared
@pytest.mark.parametrize("query", ["include=run", "include=", "include=runs&include=runs"])
async def test_nothing_else_can_be_included(api: Api, query: str) -> None:
    assert places(await api.client.get(f"/api/projects?{query}")) == ["/query/include"]


async def test_it_needs_the_scope_for_runs_also_for_a_kept_answer(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    for number in (1, 2):
        project = await make_project(client, github_repo=f"r{number}")
        path = f"/api/projects/{project['id']}/agent-runs"
        assert (await client.post(path, json={"target_text": "x"})).status_code == 201
    without = await as_token("projects:read")
    enough = await as_token("projects:read", "runs:read")
    bound = await as_token("projects:read", "runs:read", project_ids=[1])
    for _ in range(2):
        for one, ids in ((enough, [2, 1]), (bound, [1])):
            listed = (await one.get(LIST)).json()["projects"]
            assert [(p["id"], p["runs"]["total"]) for p in listed] == [(id, 1) for id in ids]
        assert problem(await without.get(LIST), "forbidden")["scope"] == "runs:read"
        assert (await without.get("/api/projects")).status_code == 200
    problem(await (await as_token("runs:read")).get(LIST), "forbidden")


async def test_the_tag_is_weak_and_changes_with_the_runs(api: Api) -> None:
    plain = (await api.client.get("/api/projects")).headers["ETag"]
    tags = {plain}
    for change in (
        api.new_run(),
        api.patch("/api/agent-runs/1", {"pr_number": 7}),
        api.step(1, "running"),
        api.step(1, "completed"),
    ):
        await change
        tag = (await api.client.get(LIST)).headers["ETag"]
        assert tag.startswith('W/"')
        assert tag not in tags
        tags.add(tag)
        for _ in range(2):
            assert (await api.client.get(LIST, headers={"If-None-Match": tag})).status_code == 304
    # Without runs, the list is the same as before.
    assert (await api.client.get("/api/projects")).headers["ETag"] == plain


async def test_a_lease_is_no_change(api: Api, clock: SetClock) -> None:
    await api.new_run()
    lease = (await api.claim())["lease_token"]
    tag = (await api.client.get(LIST)).headers["ETag"]
    clock.advance(10)
    await api.heartbeat(1, lease)
    assert (await api.client.get(LIST, headers={"If-None-Match": tag})).status_code == 304


async def test_texts_that_another_program_has_damaged_are_shown(api: Api) -> None:
    await api.new_run()
    await api.service.db_manager.async_pool.execute(
        "UPDATE projects SET name = CAST(x'61ff' AS TEXT)"
    )
    [project] = (await api.get(LIST))["projects"]
    assert project["name"] == "a\ufffd"
    assert project["runs"]["total"] == project["runs"]["active"] == 1
