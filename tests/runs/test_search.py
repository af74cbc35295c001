"""Lists of runs with searches, filters and orders, compared with lists made in Python, whatever
happens to the runs and wherever their index has got to."""

import json
import random
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

from backend.repositories import following_index, run_pages
from backend.schemas.runs import RunChoice
from backend.services.operations.search_indexer import SearchIndexer
from backend.services.principal import Principal, acting_as
from database.text_keys import text_key
from models import RunStatus, RunType, utc_datetime
from tests.support import searches
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.http import pages, problem, walk
from tests.support.searches import in_some_form, part_of, use_small_numbers, words

SORTS = ("created_at", "-created_at", "updated_at", "-updated_at")
PIECES = ("Fix ", "fix", "the build", "tests", "\n", "\r\n", "\u212a", *searches.PIECES)
Json = dict[str, Any]


class World:
    """Runs, which change at random, and what their lists should show."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api = api
        self.client = api.client
        self.index = api.service.run_index
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.projects = [1]
        self.runs: dict[int, Json] = {}
        self.workers: dict[int, str] = {}

    async def change(self) -> None:
        """Change something."""
        kinds = (self.create, self.claim, self.rewrite, self.finish, self.purge)
        (kind,) = self.chance.choices(kinds, (12, 4, 4, 3, 0.4))
        await kind()

    async def new_project(self) -> None:
        self.projects.append(await self.api.new_project(f"p{self.chance.randrange(10**9)}"))

    async def create(self) -> None:
        project = self.chance.choice(self.projects)
        body = {
            "target_text": words(self.chance, 12, PIECES),
            "run_type": self.chance.choice(list(RunType)).value,
        }
        if self.chance.random() < 0.5:
            run = await self.api.post(f"/api/projects/{project}/agent-runs", body, 201)
        else:
            run = await self.api.new_run(project, **body)
        self.runs[run["id"]] = run

    async def claim(self) -> None:
        worker = self.chance.choice(("w1", "w2"))
        # Longer than the clock of the test goes on, so that no lease runs out.
        body = {"worker": worker, "lease_seconds": 3600}
        response = await self.client.post("/api/agent-runs/claim", json=body)
        if response.status_code == 200:
            id = response.json()["id"]
            self.runs[id], self.workers[id] = await self.api.run(id), worker

    async def rewrite(self) -> None:
        if id := self._any((RunStatus.PENDING, RunStatus.RUNNING)):
            body = {"target_text": words(self.chance, 12, PIECES)}
            self.runs[id] = await self.api.patch(f"/api/agent-runs/{id}", body)

    async def finish(self) -> None:
        if id := self._any((RunStatus.PENDING, RunStatus.RUNNING)):
            self.runs[id] = await self.api.step(id, self.chance.choice(("failed", "cancelled")))

    async def purge(self) -> None:
        project = self.chance.choice(self.projects)
        await self.api.call("DELETE", f"/api/projects/{project}?purge=true", status=204)
        self.projects.remove(project)
        self.runs = {id: run for id, run in self.runs.items() if run["project_id"] != project}
        await self.new_project()

    async def follow(self) -> None:
        """Let the index follow by a few runs."""
        rows, characters = self.chance.randint(1, 9), self.chance.choice((20, 500))
        await self.index.index_next(rows, characters)
        await self.index.remove_next(rows, characters)

    def _any(self, statuses: Sequence[RunStatus]) -> int | None:
        ids = [id for id, run in self.runs.items() if run["status"] in statuses]
        return self.chance.choice(ids) if ids else None

    def search(self) -> tuple[str, Json]:
        """The path and the parameters of a list."""
        chance = self.chance
        params: Json = {"sort": chance.choice(SORTS), "limit": chance.choice((1, 2, 3, 7, 50, 500))}
        if chance.random() < 0.8:
            text = words(chance, 2, PIECES)
            if self.runs and chance.random() < 0.8:
                text = chance.choice(list(self.runs.values()))["target_text"]
                text = part_of(chance, text)
            params["q"] = in_some_form(chance, text)
        for name, values in (("status", list(RunStatus)), ("run_type", list(RunType))):
            if chance.random() < 0.3:
                params[name] = [v.value for v in chance.sample(values, chance.randint(1, 3))]
        if chance.random() < 0.2:
            params["worker"] = chance.choice(("w1", "w2", "w3"))
        for bound in ("since", "until"):
            if self.runs and chance.random() < 0.2:
                params[bound] = chance.choice(list(self.runs.values()))["created_at"]
        if chance.random() < 0.3:
            return f"/api/projects/{chance.choice(self.projects)}/agent-runs", params
        if chance.random() < 0.2:
            params["project_id"] = chance.choice(self.projects)
        return "/api/agent-runs", params

    def expected(self, path: str, params: Json) -> list[Json]:
        """The list as docs/api.md describes it."""
        project = params.get("project_id")
        if path.startswith("/api/projects/"):
            project = int(path.split("/")[3])

        def belongs(run: Json) -> bool:
            return (
                project in (None, run["project_id"])
                and run["status"] in params.get("status", (run["status"],))
                and run["run_type"] in params.get("run_type", (run["run_type"],))
                and self.workers.get(run["id"]) == params.get("worker", self.workers.get(run["id"]))
                and params.get("since", "") <= run["created_at"] <= params.get("until", "~")
                and text_key(params.get("q", "")) in text_key(run["target_text"])
            )

        sort = params["sort"]
        by_id = sort.endswith("created_at")

        def place(run: Json) -> tuple[str, int]:
            return "" if by_id else run["updated_at"], run["id"]

        return sorted(filter(belongs, self.runs.values()), key=place, reverse=sort[0] == "-")

    async def check(self) -> None:
        """Read a list, and compare all pages."""
        path, params = self.search()
        found = await walk(self.client, path, "agent_runs", **params)
        assert found == self.expected(path, params), params
        if self.chance.random() < 0.2:
            await self.check_bound(path, params)

    async def check_bound(self, path: str, params: Json) -> None:
        """Read the list as a token does that is bound to some projects, and compare it."""
        ids = frozenset(self.chance.choices(self.projects, k=self.chance.randint(0, 3)))
        token = Principal("bound", frozenset({"runs:read"}), project_ids=ids)
        project = int(path.split("/")[3]) if path.startswith("/api/projects/") else None
        choice = RunChoice(
            params.get("project_id", project),
            tuple(map(RunStatus, params.get("status", ()))),
            tuple(map(RunType, params.get("run_type", ()))),
            params.get("worker"),
            since=utc_datetime(params["since"]) if "since" in params else None,
            until=utc_datetime(params["until"]) if "until" in params else None,
            text=params.get("q"),
        )
        found: list[Json] = []
        page: dict[str, Any] = {"sort": params["sort"], "limit": params["limit"], "cursor": None}
        with acting_as(token):
            while True:
                answer = json.loads(await self.api.service.runs.page_json(choice, **page))
                found += answer["agent_runs"]
                page["cursor"] = answer["next_cursor"]
                if page["cursor"] is None:
                    break
        assert found == [run for run in self.expected(path, params) if run["project_id"] in ids]


async def agrees(api: Api) -> bool:
    """Whether the index has what it should have of each run, and nothing else."""
    async with api.service.transaction() as repositories:
        index = repositories.run_index
        return await index.index.check(index.db)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so small that a few runs are many, so that each way to search is taken."""
    use_small_numbers(monkeypatch)
    monkeypatch.setattr(run_pages, "FEW_IDS", 4)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("jumping", [False, True])
@pytest.mark.parametrize("steps", [200, pytest.param(1_000, marks=pytest.mark.long_form)])
async def test_a_list_shows_what_a_list_in_python_shows(
    api: Api, clock: SetClock, steps: int, *, jumping: bool
) -> None:
    """A jumping clock is set back now and then."""
    world = World(api, seed=steps)
    for _ in range(3):
        await world.new_project()
    for step in range(steps):
        back = jumping and step % 20 == 19
        clock.advance(-world.chance.random() * 5 if back else world.chance.choice((0, 0.5)))
        await world.change()
        if world.chance.random() < 0.3:
            await world.follow()
        await world.check()
    assert len(world.runs) > 20
    assert await agrees(api)
    state = await world.index.state()
    assert state.indexed_id > 20
    assert state.in_order is not jumping


async def test_all_ways_to_search_find_the_same_with_ordinary_numbers(api: Api) -> None:
    world = World(api, seed=7)
    await world.new_project()
    for _ in range(60):
        await world.change()
    for _ in range(30):
        await world.check()
    while (await world.index.index_next(10)).rows:
        await world.check()
    for _ in range(30):
        await world.check()


async def test_a_search_reads_the_list_while_the_index_lacks_too_much(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_index, "MOST_UNINDEXED", 5)
    world = World(api, seed=8)
    for _ in range(20):
        await world.create()
    while (await world.index.index_next(3)).rows:
        await world.check()


@pytest.mark.usefixtures("small")
async def test_pages_go_on_when_the_index_gets_further_between_them(api: Api) -> None:
    world = World(api, seed=3)
    for _ in range(40):
        await world.create()
    for sort in SORTS:
        params = {"q": "i", "sort": sort, "limit": 2}
        seen: list[Json] = []
        async for page in pages(api.client, "/api/agent-runs", "agent_runs", **params):
            seen += page
            await world.follow()
        assert seen == world.expected("/api/agent-runs", params)
        assert len(seen) > 4


async def test_a_run_is_found_before_it_is_indexed_and_after_and_by_its_new_text(api: Api) -> None:
    run = await api.new_run(target_text="Rename the Größe column")
    for _ in range(2):
        assert (await api.get("/api/agent-runs?q=GR%C3%96SSE"))["agent_runs"] == [run]
        await api.service.run_index.index_next()
    changed = await api.patch(f"/api/agent-runs/{run['id']}", {"target_text": "Something else"})
    assert (await api.get("/api/agent-runs?q=thing+ELSE"))["agent_runs"] == [changed]
    assert (await api.get("/api/agent-runs?q=gr%C3%B6"))["agent_runs"] == []
    assert await agrees(api)


def stored_parts(api: Api) -> bytes:
    """All that the index has stored."""
    rows = api.service.db_manager.execute_query("SELECT block FROM run_index_data")
    return b"".join(row["block"] for row in rows)


async def test_nothing_of_a_removed_run_stays_in_the_index(api: Api) -> None:
    index = api.service.run_index
    second = await api.new_project("second")
    for project, sign in ((1, "\u2603"), (second, "\u2604"), (second, "\u2605")):
        await api.new_run(project, target_text=sign * 3)
    while (await index.index_next(1)).rows:
        pass
    await api.call("DELETE", f"/api/projects/{second}?purge=true", status=204)
    # They are not found any more, whatever the index still has.
    assert (await api.get("/api/agent-runs?q=%E2%98%84"))["agent_runs"] == []
    assert (await index.state()).removals == 1
    assert await agrees(api)
    await SearchIndexer(index, "runs").run()
    state = await index.state()
    assert (state.removals, state.purges, state.is_due) == (0, 0, False)
    left = stored_parts(api)
    assert [sign.encode() in left for sign in "\u2603\u2604\u2605"] == [True, False, False]
    assert api.service.db_manager.execute_query("SELECT * FROM run_index_removals") == []
    assert await agrees(api)


async def test_a_removed_run_that_was_never_indexed_leaves_no_text_behind(api: Api) -> None:
    second = await api.new_project("second")
    await api.new_run(second, target_text="never indexed")
    await api.call("DELETE", f"/api/projects/{second}?purge=true", status=204)
    assert not (await api.service.run_index.state()).removals


async def test_a_step_takes_no_more_runs_once_their_texts_are_long(api: Api) -> None:
    for size in (10, 50_000, 10, 10):
        await api.new_run(target_text="x" * size)
    index = api.service.run_index
    assert await index.index_next(250, 1_000) == (2, True)
    assert await index.index_next(250, 1_000) == (2, False)
    assert await index.index_next(250, 1_000) == (0, False)
    await api.call("DELETE", "/api/projects/1?purge=true", status=204)
    assert await index.remove_next(250, 1_000) == (2, True)
    assert await index.remove_next(250, 1_000) == (2, False)
    assert await agrees(api)


async def test_claims_and_transitions_do_not_change_the_index(api: Api) -> None:
    await api.new_run(target_text="payments")
    await api.service.run_index.index_next()
    before = stored_parts(api)
    claimed = await api.claim()
    await api.patch(f"/api/agent-runs/{claimed['id']}", {"pr_number": 7})
    await api.step(claimed["id"], "completed")
    assert stored_parts(api) == before
    await api.new_run(target_text="newer")
    assert stored_parts(api) == before


@pytest.mark.parametrize("path", ["/api/agent-runs", "/api/projects/1/agent-runs"])
async def test_wrong_parameters_are_refused(api: Api, path: str) -> None:
    for wrong, pointer in (
        ("sort=name", "/query/sort"),
        (f"q={'x' * 256}", "/query/q"),
        ("since=yesterday", "/query/since"),
        ("until=2026-01-01", "/query/until"),
        ("q=a&q=b", "/query/q"),
    ):
        response = await api.client.get(f"{path}?{wrong}")
        assert [e["pointer"] for e in problem(response, "validation_failed")["errors"]] == [pointer]


async def test_a_cursor_belongs_to_its_search(api: Api) -> None:
    for _ in range(3):
        await api.new_run(target_text="some text")
    cursor = (await api.get("/api/agent-runs?limit=1&q=some"))["next_cursor"]
    assert (
        len((await api.get(f"/api/agent-runs?limit=1&q=some&cursor={cursor}"))["agent_runs"]) == 1
    )
    for other in ("q=text", "", "q=some&sort=updated_at", "q=some&worker=w"):
        found = await api.get(f"/api/agent-runs?limit=1&{other}&cursor={cursor}", 400)
        assert found["code"] == "bad_cursor"


async def test_runs_of_one_project_are_listed_and_created_by_its_path(api: Api) -> None:
    second = await api.new_project("second")
    path = f"/api/projects/{second}/agent-runs"
    body = {"target_text": "Do it", "run_type": "plan"}
    response = await api.client.post(path, json=body)
    assert response.status_code == 201
    run = response.json()
    assert (run["project_id"], run["run_number"], run["run_type"]) == (second, 1, "plan")
    assert response.headers["location"] == f"/api/agent-runs/{run['id']}"
    await api.new_run(1)
    assert (await api.get(path))["agent_runs"] == [run]
    await api.call("DELETE", f"/api/projects/{second}", status=204)
    # As for webhooks, the list of a deleted project can still be read.
    assert (await api.get(path))["agent_runs"] == [run]
    for wrong in (second, 99):
        response = await api.client.post(f"/api/projects/{wrong}/agent-runs", json=body)
        assert "errors" not in problem(response, "project_not_found")
    await api.get("/api/projects/99/agent-runs", 404)
    assert (await api.actions())[-1][1] == "project.deleted"


def test_sqlite_folds_ascii_alone() -> None:
    """What `lower(target_text)` relies on as the key of an ASCII text."""
    connection = sqlite3.connect(":memory:")
    every = "".join(map(chr, range(1, 128)))
    (found,) = connection.execute("SELECT lower(?)", (every,)).fetchone()
    connection.close()
    assert found == text_key(every)
