"""Searches for projects, compared with a search in Python, whatever happens to the projects and
wherever their index has got to."""

import random
from typing import Any

import pytest

from backend.repositories import following_index
from backend.services.operations.search_indexer import SearchIndexer
from database.text_keys import text_key
from tests.support import searches
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.http import new_project, pages, walk
from tests.support.searches import in_some_form, part_of, use_small_numbers, words

SORTS = ("created_at", "-created_at", "updated_at", "-updated_at", "name", "-name")
STATUSES = ("active", "inactive", "archived")
PIECES = ("alpha", "ALPHA", "beta", "gamma", "pay", "ments", "🔑🔒", *searches.PIECES)
IN_REPOSITORIES = [piece for piece in PIECES if piece.isalnum() or piece in "-._"]
Json = dict[str, Any]


class World:
    """Projects, which change at random, and what their lists should show."""

    def __init__(self, api: Api, seed: int) -> None:
        self.client = api.client
        self.index_next = api.service.project_index.index_next
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.projects: dict[int, Json] = {}
        self.owners = ("acme", "Größe-team", "失败")

    async def change(self) -> None:
        """Change something."""
        kinds = (self.create, self.rename, self.touch, self.delete, self.restore, self.purge)
        (kind,) = self.chance.choices(kinds, (12, 5, 3, 2, 2, 2))
        await kind()

    async def create(self) -> None:
        body = new_project(
            name=f"n{words(self.chance, 6, PIECES)}",
            github_owner=self.chance.choice(self.owners),
            status=self.chance.choice(STATUSES),
        )
        body["github_repo"] = f"{words(self.chance, 3, IN_REPOSITORIES)}-{body['github_repo']}"
        await self._sent("POST", "/api/projects", 201, body)

    async def rename(self) -> None:
        field = self.chance.choice(("name", "github_repo"))
        number = self.chance.randrange(10**9)
        if id := self._any(deleted=False):
            pieces = PIECES if field == "name" else IN_REPOSITORIES
            body = {field: f"{words(self.chance, 4, pieces)}{number}"}
            await self._sent("PATCH", f"/api/projects/{id}", 200, body)

    async def touch(self) -> None:
        if id := self._any(deleted=False):
            body = {"status": self.chance.choice(STATUSES), "auto_merge_enabled": True}
            await self._sent("PATCH", f"/api/projects/{id}", 200, body)

    async def delete(self) -> None:
        if id := self._any(deleted=False):
            response = await self.client.delete(f"/api/projects/{id}")
            assert response.status_code == 204
            self._keep((await self.client.get(f"/api/projects/{id}")).json())

    async def restore(self) -> None:
        if id := self._any(deleted=True):
            await self._sent("POST", f"/api/projects/{id}/restore", 200)

    async def purge(self) -> None:
        if self.projects:
            id = self.chance.choice(list(self.projects))
            response = await self.client.delete(f"/api/projects/{id}?purge=true")
            assert response.status_code == 204
            del self.projects[id]

    async def index(self) -> None:
        """Let the index follow by a few projects."""
        await self.index_next(self.chance.randint(1, 9))

    def search(self) -> Json:
        """The parameters of a search: mostly for a part of what exists."""
        chance = self.chance
        text = words(chance, 2, PIECES)
        if self.projects and chance.random() < 0.8:
            project = chance.choice(list(self.projects.values()))
            text = chance.choice(
                (project["name"], f"{project['github_owner']}/{project['github_repo']}")
            )
            text = part_of(chance, text)
        params: Json = {
            "q": in_some_form(chance, text),
            "sort": chance.choice(SORTS),
            "limit": chance.choice((1, 2, 3, 7, 50, 500)),
        }
        if chance.random() < 0.3:
            params["status"] = chance.choice((*STATUSES, "deleted"))
        if chance.random() < 0.3:
            params["owner"] = chance.choice(self.owners).upper()
        return params

    def expected(self, params: Json) -> list[Json]:
        """The list as docs/api.md describes it."""
        q, sort = text_key(params["q"]), params["sort"]
        column = sort.removeprefix("-")

        def place(project: Json) -> tuple[str, int]:
            value = project[column]
            return text_key(value) if column == "name" else value, project["id"]

        def belongs(project: Json) -> bool:
            repository = f"{project['github_owner']}/{project['github_repo']}"
            status = params.get("status")
            if (project["status"] == "deleted") if status is None else project["status"] != status:
                return False
            owner = params.get("owner")
            if owner is not None and text_key(project["github_owner"]) != text_key(owner):
                return False
            return q in text_key(project["name"]) or q in text_key(repository)

        return sorted(
            filter(belongs, self.projects.values()), key=place, reverse=sort.startswith("-")
        )

    async def check(self) -> None:
        """Search, and compare all pages."""
        params = self.search()
        found = await walk(self.client, "/api/projects", "projects", **params)
        assert found == self.expected(params), params

    def _any(self, *, deleted: bool) -> int | None:
        ids = [id for id, one in self.projects.items() if (one["status"] == "deleted") is deleted]
        return self.chance.choice(ids) if ids else None

    async def _sent(self, method: str, path: str, status: int, body: Json | None = None) -> None:
        response = await self.client.request(method, path, json=body)
        # Two names that differ in their form or case are one repository.
        if response.status_code != 409:
            assert response.status_code == status, response.text
            self._keep(response.json())

    def _keep(self, project: Json) -> None:
        self.projects[project["id"]] = project


async def agrees(api: Api) -> bool:
    """Whether the index has what it should have of each project, and nothing else."""
    async with api.service.transaction() as repositories:
        index = repositories.project_index
        return await index.index.check(index.db)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so small that a few projects are many, so that each way to search is taken."""
    use_small_numbers(monkeypatch)


@pytest.fixture
async def api(api: Api) -> Api:
    """The API without projects."""
    await api.call("DELETE", "/api/projects/1?purge=true", status=204)
    return api


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("jumping", [False, True])
@pytest.mark.parametrize("steps", [200, pytest.param(1_000, marks=pytest.mark.long_form)])
async def test_a_search_finds_what_a_search_in_python_finds(
    api: Api, clock: SetClock, steps: int, *, jumping: bool
) -> None:
    """A jumping clock is set back now and then."""
    world = World(api, seed=steps)
    for step in range(steps):
        back = jumping and step % 20 == 19
        clock.advance(-world.chance.random() * 5 if back else world.chance.choice((0, 0.5)))
        await world.change()
        if world.chance.random() < 0.3:
            await world.index()
        await world.check()
    assert len(world.projects) > 20
    assert await agrees(api)
    state = await api.service.project_index.state()
    assert state.indexed_id > 20
    assert state.in_order is not jumping


async def test_all_ways_to_search_find_the_same_with_ordinary_numbers(api: Api) -> None:
    world = World(api, seed=7)
    for _ in range(60):
        await world.change()
    for _ in range(30):
        await world.check()
    while (await world.index_next(10)).rows:
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
    while (await world.index_next(3)).rows:
        await world.check()


@pytest.mark.usefixtures("small")
async def test_pages_go_on_when_the_index_gets_further_between_them(api: Api) -> None:
    world = World(api, seed=3)
    for _ in range(40):
        await world.create()
    for sort in SORTS:
        params = {"q": "acme", "sort": sort, "limit": 2}
        seen: list[Json] = []
        async for page in pages(api.client, "/api/projects", "projects", **params):
            seen += page
            await world.index()
        assert seen == world.expected(params)


async def test_a_project_is_found_before_it_is_indexed_and_after(api: Api) -> None:
    world = World(api, seed=1)
    await world.create()
    [project] = world.projects.values()
    for limit in (1, 2):
        # Another limit, so that the answer is not a kept one.
        params = {"q": project["github_repo"][-12:], "limit": limit}
        answer = await api.client.get("/api/projects", params=params)
        assert answer.json()["projects"] == [project]
        await world.index_next(5)
    renamed = await api.patch(f"/api/projects/{project['id']}", {"name": "Something else"})
    for text, found in (("thing else", [renamed]), (project["name"], [])):
        answer = await api.client.get("/api/projects", params={"q": text})
        assert answer.json()["projects"] == found


async def test_new_projects_are_indexed_after_the_counter_of_ids_was_turned_back(api: Api) -> None:
    pool = api.service.db_manager.async_pool
    first, second, third = [await api.new_project(name) for name in ("one", "two", "three")]
    assert (await api.service.project_index.index_next(5)).rows == 3
    # Not even the record has the last project any more.
    await pool.execute("DELETE FROM audit_entries WHERE project_id = ?", (third,))
    await pool.execute("DELETE FROM guarded_targets WHERE target = ?", (f"projects/{third}",))
    await pool.execute("DELETE FROM projects WHERE id = ?", (third,))
    await pool.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'projects'", (second,))
    indexer = SearchIndexer(api.service.project_index, "projects")
    await indexer.run()
    assert await api.new_project("three-again") == third
    await indexer.run()
    assert (await api.service.project_index.state()).indexed_id == third
    for name, ids in (("one", [first]), ("two", [second]), ("three", [third]), ("again", [third])):
        found = (await api.get(f"/api/projects?q={name}"))["projects"]
        assert [project["id"] for project in found] == ids


def stored_parts(api: Api) -> bytes:
    """All that the index has stored."""
    rows = api.service.db_manager.execute_query("SELECT block FROM project_index_data")
    return b"".join(row["block"] for row in rows)


async def test_nothing_of_a_purged_project_stays_in_the_index(api: Api) -> None:
    index = api.service.project_index
    signs = ("\u2603", "\u2604", "\u2605")
    ids = []
    for sign in signs:
        ids.append(await api.new_project(sign * 3, github_repo=f"r{ord(sign)}"))
        assert (await index.index_next(5)).rows == 1
    assert all(sign.encode() in stored_parts(api) for sign in signs)
    await api.patch(f"/api/projects/{ids[1]}", {"name": "Plain"})
    for id in ids[:2]:
        await api.call("DELETE", f"/api/projects/{id}?purge=true", status=204)
    assert (await index.state()).purges == 2
    await SearchIndexer(index, "projects").run()
    assert (await index.state()).purges == 0
    left = stored_parts(api)
    assert [sign.encode() in left for sign in signs] == [False, False, True]
    assert await agrees(api)


async def test_the_index_is_changed_by_what_changes_a_name_and_by_nothing_else(api: Api) -> None:
    id = await api.new_project("payments")
    other = await api.new_project("billing")
    await api.service.project_index.index_next(5)
    before = stored_parts(api)
    await api.patch(f"/api/projects/{id}", {"status": "archived", "webhook_url": "https://x.y"})
    await api.call("DELETE", f"/api/projects/{id}", status=204)
    await api.post(f"/api/projects/{id}/restore")
    await api.new_project("newer")
    await api.patch(f"/api/projects/{id}", {"github_owner": "acme", "github_repo": "billing"}, 409)
    assert stored_parts(api) == before
    await api.patch(f"/api/projects/{other}", {"name": "invoices"})
    assert stored_parts(api) != before
    assert await agrees(api)


async def test_indexing_leaves_kept_answers_valid(api: Api) -> None:
    project = await api.new_project("payments")
    versions = api.service.kit.shown_versions
    before = {shown: version.version for shown, version in versions.items()}
    assert (await api.service.project_index.index_next(5)).rows == 1
    await SearchIndexer(api.service.project_index, "projects").run()
    assert {shown: version.version for shown, version in versions.items()} == before
    await api.call("DELETE", f"/api/projects/{project}?purge=true", status=204)
    after = {shown: version.version for shown, version in versions.items()}
    assert after != before
    await SearchIndexer(api.service.project_index, "projects").run()
    assert {shown: version.version for shown, version in versions.items()} == after
