"""Deleting, restoring and purging projects over HTTP, and which project has a repository
meanwhile."""

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import (
    all_rows,
    make_project,
    manager_of,
    new_project,
    places,
    problem,
    row_counts,
)

SPELLINGS = [
    ("acme", "Tool"),
    ("ACME", "tool"),
    ("STRASSE", "\u00d6L"),
    ("stra\u00dfe", "\u00f6l"),
    ("\u0130stanbul", "\u03a3\u03a3"),
    ("\u0130STANBUL", "\u03c3\u03c2"),
]

RECORD = ("audit_entries", "guarded_targets")
"""The tables of the record, which tells of what is gone."""


@pytest.mark.parametrize(
    ("first", "second"), [(SPELLINGS[n], SPELLINGS[n + 1]) for n in range(0, len(SPELLINGS), 2)]
)
async def test_a_repository_has_one_project_whatever_the_case(
    client: httpx.AsyncClient,
    application: FastAPI,
    first: tuple[str, str],
    second: tuple[str, str],
) -> None:
    project = await make_project(client, github_owner=first[0], github_repo=first[1])
    other = await make_project(client)
    before = row_counts(manager_of(application))
    again = new_project(github_owner=second[0], github_repo=second[1])
    document = problem(await client.post("/api/projects", json=again), "project_exists")
    assert document["existing_id"] == project["id"]
    change = {"github_owner": second[0], "github_repo": second[1]}
    for method in ("PUT", "PATCH"):
        response = await client.request(method, f"/api/projects/{other['id']}", json=change)
        assert problem(response, "project_exists")["existing_id"] == project["id"]
    assert row_counts(manager_of(application)) == before
    assert (await client.get(f"/api/projects/{other['id']}")).json() == other
    by_repo = await client.get(f"/api/projects/by-repo/{second[0]}/{second[1]}")
    assert by_repo.json() == project


@pytest.mark.shared
async def test_a_project_may_change_the_case_of_its_own_repository(
    client: httpx.AsyncClient,
) -> None:
    project = await make_project(client, github_owner="acme", github_repo="tool")
    response = await client.put(f"/api/projects/{project['id']}", json={"github_repo": "Tool"})
    assert response.json()["github_repo"] == "Tool"


async def test_half_of_another_s_repository_is_free(client: httpx.AsyncClient) -> None:
    project = await make_project(client, github_owner="acme", github_repo="tool")
    other = await make_project(client, github_owner="acme", github_repo="other")
    path = f"/api/projects/{other['id']}"
    document = problem(await client.put(path, json={"github_repo": "TOOL"}), "project_exists")
    assert document["existing_id"] == project["id"]
    response = await client.put(path, json={"github_repo": "TOOL", "github_owner": "zebra"})
    assert response.status_code == 200


@pytest.mark.shared
async def test_a_repository_is_found_in_any_case_and_no_other(client: httpx.AsyncClient) -> None:
    project = await make_project(client, github_owner="Acme", github_repo="a.b-c_d")
    for owner, repo in (("Acme", "a.b-c_d"), ("ACME", "A.B-C_D"), ("acme", "a%2eb-c_d")):
        response = await client.get(f"/api/projects/by-repo/{owner}/{repo}")
        assert (response.status_code, response.json()) == (200, project)
    for path in ("acme/a", "acm/a.b-c_d", "%25/%25", "_cme/a.b-c_d"):
        problem(await client.get(f"/api/projects/by-repo/{path}"), "project_not_found")
    assert places(await client.get("/api/projects/by-repo/acme/a.b-c_d%00")) == ["/path/repo"]


@pytest.mark.shared
async def test_a_deleted_project_is_marked_and_frees_its_repository(
    client: httpx.AsyncClient,
) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    path = f"/api/projects/{project['id']}"
    response = await client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    marked = (await client.get(path)).json()
    assert marked == {
        **project,
        "status": "deleted",
        "version": 2,
        "updated_at": marked["updated_at"],
    }
    repository = f"{project['github_owner']}/{project['github_repo']}"
    problem(await client.get(f"/api/projects/by-repo/{repository}"), "project_not_found")
    for method, body in (("PUT", {"name": "x"}), ("PATCH", {"name": "x"})):
        problem(await client.request(method, path, json=body), "project_not_found")
        problem(
            await client.request(method, f"{path}/configuration", json={"branch_name": "x"}),
            "project_not_found",
        )
    secret = {"key": "B", "value": "v"}
    problem(await client.post(f"{path}/secrets", json=secret), "project_not_found")
    problem(await client.put(f"{path}/secrets", json={"secrets": [secret]}), "project_not_found")
    problem(await client.put(f"{path}/secrets/A", json={"value": "w"}), "project_not_found")
    problem(await client.delete(f"{path}/secrets/A"), "project_not_found")
    taken = new_project(
        github_owner=project["github_owner"].upper(), github_repo=project["github_repo"]
    )
    assert (await client.post("/api/projects", json=taken)).status_code == 201


@pytest.mark.shared
async def test_deleting_twice_is_deleting_once(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    assert (await client.delete(path)).status_code == 204
    marked = (await client.get(path)).json()
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).json() == marked


@pytest.mark.shared
async def test_a_restored_project_has_everything_again(client: httpx.AsyncClient) -> None:
    project = await make_project(
        client,
        status="archived",
        settings={"branch_name": "develop"},
        secrets=[{"key": "A", "value": "v"}],
    )
    path = f"/api/projects/{project['id']}"
    await client.delete(path)
    response = await client.post(f"{path}/restore")
    restored = response.json()
    assert response.status_code == 200
    assert restored == {
        **project,
        "status": "active",
        "version": 3,
        "updated_at": restored["updated_at"],
    }
    assert (await client.get(f"{path}/configuration")).json()["branch_name"] == "develop"
    assert (await client.get(f"{path}/secrets/A/value")).json()["value"] == "v"
    assert (await client.post(f"{path}/restore")).json() == restored


@pytest.mark.shared
async def test_a_project_whose_repository_was_taken_is_not_restored(
    client: httpx.AsyncClient,
) -> None:
    project = await make_project(client, github_owner="Stra\u00dfe", github_repo="Tool")
    path = f"/api/projects/{project['id']}"
    await client.delete(path)
    deleted = (await client.get(path)).json()
    taker = await make_project(client, github_owner="STRASSE", github_repo="tool")
    document = problem(await client.post(f"{path}/restore"), "project_exists")
    assert document["existing_id"] == taker["id"]
    assert (await client.get(path)).json() == deleted
    await client.delete(f"/api/projects/{taker['id']}")
    assert (await client.post(f"{path}/restore")).status_code == 200


@pytest.mark.shared
@pytest.mark.parametrize("deleted_before", [True, False])
async def test_purging_leaves_nothing(
    client: httpx.AsyncClient, application: FastAPI, deleted_before: bool
) -> None:
    other = await make_project(client, secrets=[{"key": "A", "value": "other"}])
    manager = manager_of(application)
    kept = {name: rows for name, rows in all_rows(manager).items() if name not in RECORD}
    project = await make_project(
        client,
        settings={"planning_statement": "p"},
        secrets=[{"key": "A", "value": "v"}, {"key": "B", "value": "w"}],
    )
    path = f"/api/projects/{project['id']}"
    if deleted_before:
        await client.delete(path)
    response = await client.delete(f"{path}?purge=true")
    assert (response.status_code, response.content) == (204, b"")
    left = {name: rows for name, rows in all_rows(manager).items() if name not in RECORD}
    assert left == kept
    for rest in ("", "/full", "/configuration", "/secrets", "/secrets/A", "/secrets/A/value"):
        problem(await client.get(path + rest), "project_not_found")
    problem(await client.post(f"{path}/restore"), "project_not_found")
    problem(await client.delete(f"{path}?purge=true"), "project_not_found")
    # Its id is never used again.
    assert (await make_project(client))["id"] > project["id"] > other["id"]


@pytest.mark.shared
async def test_a_purge_that_is_not_understood_deletes_nothing(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    assert places(await client.delete(f"{path}?purge=perhaps")) == ["/query/purge"]
    assert (await client.get(path)).json() == project
