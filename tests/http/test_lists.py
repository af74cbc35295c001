"""Lists: their content, their order, and pages that neither skip nor repeat items."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.http import make_project, pages, places, problem, walk

SORTS = ("created_at", "-created_at", "updated_at", "-updated_at", "name", "-name")
STATUSES = ("active", "inactive", "archived")


def expected(projects: list[dict[str, Any]], sort: str, **filters: Any) -> list[dict[str, Any]]:
    """The list as the call's description defines it."""
    status, owner, q = (filters.get(name) for name in ("status", "owner", "q"))
    column = sort.removeprefix("-")

    def place(project: dict[str, Any]) -> tuple[Any, int]:
        value = project[column]
        return (value.casefold() if column == "name" else value), project["id"]

    def belongs(project: dict[str, Any]) -> bool:
        if status is None and project["status"] == "deleted":
            return False
        if status is not None and project["status"] != status:
            return False
        if owner is not None and project["github_owner"].casefold() != owner.casefold():
            return False
        repository = f"{project['github_owner']}/{project['github_repo']}"
        texts = (project["name"], repository)
        return q is None or any(q.casefold() in text.casefold() for text in texts)

    return sorted(filter(belongs, projects), key=place, reverse=sort.startswith("-"))


NAMES = (
    "b",
    "B",
    "a",
    "\u00c4",
    "\u00e4",
    "Stra\u00dfe",
    "STRASSE",
    "100%",
    "a_b",
    "a\\b",
    "\U0001f511" * 255,
)
OWNERS = ("acme", "ACME", "\u00d6l", "\u00f6L", "x%_")


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """The same random draws on every run."""
    return random.Random(20261123)  # noqa: S311


@pytest.fixture
async def projects(client: httpx.AsyncClient, chance: random.Random) -> list[dict[str, Any]]:
    """Forty projects of all kinds, some changed after their creation, some deleted."""
    made = [
        await make_project(
            client,
            name=chance.choice(NAMES),
            github_owner=chance.choice(OWNERS),
            github_repo=f"repo-{number}",
            status=chance.choice(STATUSES),
        )
        for number in range(40)
    ]
    for project in chance.sample(made, 15):
        path = f"/api/projects/{project['id']}"
        if chance.random() < 0.5:
            await client.delete(path)
        else:
            await client.put(path, json={"auto_merge_enabled": True})
    return [(await client.get(f"/api/projects/{project['id']}")).json() for project in made]


def combinations() -> Iterator[dict[str, str]]:
    """Every combination of filters."""
    statuses = (None, *STATUSES, "deleted")
    owners = (None, "Acme", "\u00d6L", "x%_", "absent")
    texts = (
        None,
        "REPO-1",
        "strasse",
        "\u00df",
        "%",
        "_",
        "\\",
        "\u00c4",
        "acme",
        "me/repo-1",
        "absent",
    )
    for status, owner, q in itertools.product(statuses, owners, texts):
        chosen = {"status": status, "owner": owner, "q": q}
        yield {name: value for name, value in chosen.items() if value is not None}


async def test_every_filter_in_every_order_is_the_whole_list_page_by_page(
    client: httpx.AsyncClient, projects: list[dict[str, Any]]
) -> None:
    limits = itertools.cycle((1, 2, 3, 7, 50))
    sorts = itertools.cycle(SORTS)
    for filters in combinations():
        for sort in itertools.islice(sorts, 1 if len(filters) > 1 else 7):
            walked = await walk(
                client, "/api/projects", "projects", sort=sort, limit=next(limits), **filters
            )
            assert walked == expected(projects, sort, **filters), (sort, filters)


async def test_without_parameters_the_newest_fifty_that_are_not_deleted(
    client: httpx.AsyncClient, projects: list[dict[str, Any]]
) -> None:
    projects += [await make_project(client) for _ in range(40)]
    page = (await client.get("/api/projects")).json()
    assert page["projects"] == expected(projects, "-created_at")[:50]
    assert page["next_cursor"] is not None
    assert all(project["status"] != "deleted" for project in page["projects"])


@pytest.mark.parametrize("sort", SORTS)
async def test_what_is_added_and_removed_between_pages_moves_nothing_else(
    client: httpx.AsyncClient, chance: random.Random, sort: str
) -> None:
    start = [await make_project(client, name=chance.choice(NAMES)) for _ in range(30)]
    removed: set[int] = set()
    seen: list[dict[str, Any]] = []
    async for page in pages(client, "/api/projects", "projects", sort=sort, limit=4):
        seen += page
        for _ in range(3):
            await make_project(client, name=chance.choice(NAMES))
        victim = chance.choice(start)["id"]
        removed.add(victim)
        await client.delete(f"/api/projects/{victim}")
        if len(seen) > 200:
            break
    ids = [project["id"] for project in seen]
    assert len(ids) == len(set(ids))
    started = {project["id"] for project in start}
    assert started - removed <= set(ids)
    kept = [project for project in seen if project["id"] in started]
    assert kept == expected(kept, sort)


async def test_a_page_that_ends_with_the_list_has_no_cursor(client: httpx.AsyncClient) -> None:
    for _ in range(4):
        await make_project(client)
    assert (await client.get("/api/projects?limit=4")).json()["next_cursor"] is None
    assert (await client.get("/api/projects?limit=3")).json()["next_cursor"] is not None
    assert (await client.get("/api/projects?q=absent")).json() == {
        "projects": [],
        "next_cursor": None,
    }


async def test_a_row_that_a_cursor_points_at_may_be_gone(client: httpx.AsyncClient) -> None:
    made = [await make_project(client) for _ in range(5)]
    page = (await client.get("/api/projects?limit=2")).json()
    await client.delete(f"/api/projects/{page['projects'][-1]['id']}?purge=true")
    rest = await walk(client, "/api/projects", "projects", limit=2, cursor=page["next_cursor"])
    assert [project["id"] for project in rest] == [project["id"] for project in made[2::-1]]


LIMITS: list[tuple[str, bool]] = [
    ("1", True),
    ("500", True),
    *((text, False) for text in ("0", "501", "-1", "", "x", "1.5", "1e2", "9" * 30, "%00", "null")),
]


@pytest.mark.shared
@pytest.mark.parametrize(("limit", "accepted"), LIMITS)
async def test_limits(client: httpx.AsyncClient, limit: str, accepted: bool) -> None:
    project = await make_project(client)
    for path in ("/api/projects", f"/api/projects/{project['id']}/secrets"):
        response = await client.get(f"{path}?limit={limit}")
        if accepted:
            assert response.status_code == 200
        elif limit == "%00":
            problem(response, "bad_request")
        else:
            assert places(response) == ["/query/limit"]


@pytest.mark.shared
@pytest.mark.parametrize(
    "query",
    ["sort=id", "sort=", "sort=--name", "sort=name%20desc", "status=x", "status=", "status=ACTIVE"],
)
async def test_orders_and_statuses_that_there_are_not(
    client: httpx.AsyncClient, query: str
) -> None:
    response = await client.get(f"/api/projects?{query}")
    assert places(response) == [f"/query/{query.partition('=')[0]}"]


async def test_secrets_are_listed_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    other = await make_project(client, secrets=[{"key": "OTHER", "value": "v"}])
    path = f"/api/projects/{project['id']}/secrets"
    for number in range(11):
        await client.put(f"{path}/KEY_{number}", json={"value": "v"})
        await client.put(f"/api/projects/{other['id']}/secrets/K{number}", json={"value": "v"})
    await client.put(f"{path}/KEY_3", json={"value": "changed"})
    for limit in (1, 3, 11, 50):
        walked = await walk(client, path, "secrets", limit=limit)
        assert [secret["key"] for secret in walked] == [f"KEY_{n}" for n in range(10, -1, -1)]
    seen: list[str] = []
    async for page in pages(client, path, "secrets", limit=2):
        seen += [secret["key"] for secret in page]
        await client.put(f"{path}/LATER_{len(seen)}", json={"value": "v"})
        await client.delete(f"{path}/{seen[-1]}")
    assert seen == [f"KEY_{n}" for n in range(10, -1, -1)]
