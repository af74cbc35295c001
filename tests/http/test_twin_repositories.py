"""Projects whose repositories differ only by their Unicode form, which an earlier version
accepted."""

import io
import itertools
import json
from pathlib import Path
from unicodedata import normalize

import httpx
import pytest
from fastapi import FastAPI

from backend.runtime import Runtime
from config.settings import Settings
from database.text_keys import text_key
from tests.database.rows import insert, upgraded_to
from tests.support.earlier import make_earlier
from tests.support.http import make_project, manager_of, problem

SEARCH_KEYS, TWINS = 7, 10
NFC, NFD = "café", "cafe\u0301"
REPOSITORIES = [
    # Ids 1 to 3 have one repository; 4 and 5 have another one, and 4 is deleted.
    *[(NFD, NFD, "active"), (NFC, NFC, "active"), (NFC, NFD, "archived")],
    *[("o", NFC, "deleted"), ("o", NFD, "active")],
    # A repository without a twin.
    ("o", "r", "active"),
]


def make_twins(path: Path) -> None:
    """A database from before Unicode forms were folded."""
    with upgraded_to(path, SEARCH_KEYS - 1) as connection:
        for number, (owner, repo, status) in enumerate(REPOSITORIES, 1):
            keys = {"name_key": f"p{number}", "owner_key": owner, "repo_key": repo}
            names = {"name": f"P{number}", "github_owner": owner, "github_repo": repo}
            insert(connection, "projects", status=status, **names, **keys)


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    path = tmp_path / "strongroom.db"
    make_twins(path)
    return path


@pytest.fixture
async def settings(settings: Settings) -> Settings:
    """An installation of the earlier version, whose rows the next start guards."""
    runtime = await Runtime.start(settings)
    key = runtime.service.kit.keys.audit_chain
    await runtime.stop()
    make_earlier(runtime.manager.config.path, key)
    return settings


async def by_repo(client: httpx.AsyncClient, owner: str, repo: str) -> int:
    answer = await client.get(f"/api/projects/by-repo/{owner}/{repo}")
    assert answer.status_code == 200
    return int(answer.json()["id"])


async def ids(client: httpx.AsyncClient, **params: str) -> list[int]:
    page = (await client.get("/api/projects", params={"sort": "name", **params})).json()
    return [project["id"] for project in page["projects"]]


async def test_twins_are_all_listed_and_read(client: httpx.AsyncClient) -> None:
    for number, (owner, repo, _) in enumerate(REPOSITORIES, 1):
        project = (await client.get(f"/api/projects/{number}")).json()
        assert (project["github_owner"], project["github_repo"]) == (owner, repo)
        assert project["version"] == 1
    for form in (NFC, NFD):
        assert await ids(client, owner=form) == [1, 2, 3]
        assert await ids(client, q=f"{form}/{form}") == [1, 2, 3]


async def test_a_repository_of_twins_is_found_as_it_is_written_or_the_first(
    client: httpx.AsyncClient,
) -> None:
    assert await by_repo(client, NFD, NFD) == 1
    assert await by_repo(client, NFC, NFC) == 2
    assert await by_repo(client, NFC, NFD) == 3
    for owner, repo in ((NFD, NFC), (NFC.upper(), NFC), (NFD, normalize("NFC", "Café"))):
        assert await by_repo(client, owner, repo) == 1
    assert await by_repo(client, "o", NFC) == 5


async def test_twins_can_be_changed_sent_back_and_renamed(client: httpx.AsyncClient) -> None:
    for number in (1, 2, 3):
        path = f"/api/projects/{number}"
        read = (await client.get(path)).json()
        assert (await client.put(path, json=read)).json() == read
        changed = (await client.patch(path, json={"name": "New", "status": "inactive"})).json()
        assert changed["version"] == 2
    renamed = await client.patch("/api/projects/3", json={"github_repo": "other"})
    assert renamed.status_code == 200
    assert await by_repo(client, NFD, "OTHER") == 3
    assert await by_repo(client, NFC, NFD) == 1


async def test_a_repository_that_twins_have_is_taken(client: httpx.AsyncClient) -> None:
    for owner, repo in itertools.product((NFC, NFD), (NFC, NFD)):
        body = {"name": "N", "github_owner": owner, "github_repo": repo}
        document = problem(await client.post("/api/projects", json=body), "project_exists")
        assert document["existing_id"] == await by_repo(client, owner, repo)
        document = problem(await client.patch("/api/projects/6", json=body), "project_exists")
        assert document["existing_id"] == 1
    # Another form of the name that it shares with the first project.
    answer = await client.patch("/api/projects/2", json={"github_owner": NFD})
    assert problem(answer, "project_exists")["existing_id"] == 1


@pytest.mark.parametrize("ending", ["delete", "purge", "rename"])
async def test_the_next_twin_takes_the_place_of_the_first(
    client: httpx.AsyncClient, application: FastAPI, ending: str
) -> None:
    left = [1, 2, 3]
    while left:
        first, *left = left
        path = f"/api/projects/{first}"
        if ending == "rename":
            answer = await client.patch(path, json={"github_repo": f"renamed-{first}"})
        else:
            answer = await client.delete(path, params={"purge": str(ending == "purge").lower()})
        assert answer.is_success
        rows = manager_of(application).execute_query(
            "SELECT id, twin FROM projects WHERE owner_key = ? AND repo_key = ?"
            " AND status <> 'deleted' ORDER BY twin",
            (text_key(NFC), text_key(NFC)),
        )
        assert [row["id"] for row in rows] == left
        assert [row["twin"] for row in rows] == [0, *left[1:]][: len(left)]
        body = {"name": "N", "github_owner": NFC, "github_repo": NFC}
        if left:
            document = problem(await client.post("/api/projects", json=body), "project_exists")
            assert document["existing_id"] in left
    made = await make_project(client, github_owner=NFC, github_repo=NFC)
    if ending == "delete":
        answer = await client.post("/api/projects/2/restore")
        assert problem(answer, "project_exists")["existing_id"] == made["id"]


async def test_a_twin_that_was_deleted_comes_back_when_the_other_is_gone(
    client: httpx.AsyncClient,
) -> None:
    await client.delete("/api/projects/2")
    assert problem(await client.post("/api/projects/2/restore"), "project_exists")
    for number in (1, 3):
        await client.delete(f"/api/projects/{number}")
    assert (await client.post("/api/projects/2/restore")).json()["status"] == "active"
    assert await by_repo(client, NFD, NFD) == 2


# The settings come first, so that the log has the lines of one start only.
@pytest.mark.usefixtures("settings")
async def test_a_start_names_twins(log: io.StringIO, client: httpx.AsyncClient) -> None:
    assert (await client.get("/ready")).status_code == 200
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (told,) = [line for line in lines if "same repository" in line["event"]]
    assert (told["level"], told["pairs"], told["first_pairs"]) == (
        "warning",
        2,
        [[1, 2], [1, 3]],
    )
