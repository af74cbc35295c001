"""Cursors continue where a page ended, and work only with their own list."""

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from config.settings import Settings
from tests.support.clients import client_of, token_of_first_start
from tests.support.http import make_project, manager_of, new_project, problem, walk


@pytest.fixture
async def cursor(client: httpx.AsyncClient) -> str:
    """The cursor to the second page of all projects."""
    for _ in range(3):
        await make_project(client, github_owner="acme")
    found: str = (await client.get("/api/projects?limit=1")).json()["next_cursor"]
    return found


async def test_a_cursor_that_was_altered_anywhere_is_refused(
    client: httpx.AsyncClient, cursor: str
) -> None:
    letters = "Aa0-_"
    for index, letter in enumerate(cursor):
        for other in letters.replace(letter, ""):
            altered = cursor[:index] + other + cursor[index + 1 :]
            response = await client.get("/api/projects", params={"limit": 1, "cursor": altered})
            assert response.json().get("code") == "bad_cursor", (index, other)
    altered_texts = (
        cursor[:-1],
        cursor + "A",
        cursor + "=",
        cursor[1:],
        cursor[:21],
        cursor * 2,
        cursor * 100,
        cursor.swapcase(),
        "",
        "x",
        "\u00e9",
        "null",
        "=",
    )
    for altered in altered_texts:
        response = await client.get("/api/projects", params={"limit": 1, "cursor": altered})
        document = problem(response, "bad_cursor")
        assert len(altered) < 5 or altered not in document["detail"]


async def test_a_cursor_belongs_to_its_list_filters_and_order(
    client: httpx.AsyncClient, cursor: str
) -> None:
    foreign = (
        {"status": "active"},
        {"owner": "acme"},
        {"q": "project"},
        {"sort": "created_at"},
        {"sort": "name"},
    )
    for filters in foreign:
        response = await client.get("/api/projects", params={"cursor": cursor, **filters})
        problem(response, "bad_cursor")
    project = await make_project(client)
    secrets = f"/api/projects/{project['id']}/secrets"
    problem(await client.get(secrets, params={"cursor": cursor}), "bad_cursor")
    # The explicit default order, or another page size, is still the same list.
    for same in ({"sort": "-created_at"}, {"limit": "2"}):
        response = await client.get("/api/projects", params={"cursor": cursor, **same})
        assert response.status_code == 200


async def test_the_cursor_of_one_project_s_secrets_is_of_no_other_s(
    client: httpx.AsyncClient,
) -> None:
    secrets = [{"key": "A", "value": "v"}, {"key": "B", "value": "v"}]
    first, second = [await make_project(client, secrets=secrets) for _ in range(2)]
    path = "/api/projects/{}/secrets".format
    cursor = (await client.get(path(first["id"]) + "?limit=1")).json()["next_cursor"]
    params = {"cursor": cursor}
    assert (await client.get(path(first["id"]), params=params)).status_code == 200
    problem(await client.get(path(second["id"]), params=params), "bad_cursor")


async def test_a_cursor_outlives_a_restart(
    settings: Settings, client: httpx.AsyncClient, application: FastAPI
) -> None:
    for _ in range(3):
        await make_project(client)
    page = (await client.get("/api/projects?limit=2")).json()
    await manager_of(application).close()
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        client_of(app, token_of_first_start(settings)) as later,
    ):
        params = {"limit": 2, "cursor": page["next_cursor"]}
        assert len((await later.get("/api/projects", params=params)).json()["projects"]) == 1


async def test_names_of_every_length_can_be_paged_by(client: httpx.AsyncClient) -> None:
    # The names that make the longest cursors: each letter is encoded as three.
    names = ["\u0390" * 255, "\U0001f511" * 255, '"' * 255, "\\" * 255, "\x01x" * 127]
    for name in names:
        body = new_project(name=name)
        assert (await client.post("/api/projects", json=body)).status_code == 201
    walked = await walk(client, "/api/projects", "projects", sort="name", limit=1)
    assert sorted(project["name"] for project in walked) == sorted(names)
