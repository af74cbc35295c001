"""Projects over HTTP: created, read, changed, deleted, restored, purged."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import (
    JSON,
    TIME,
    all_rows,
    make_project,
    manager_of,
    new_project,
    places,
    problem,
)

FIELDS = {
    "id",
    "name",
    "github_owner",
    "github_repo",
    "status",
    "webhook_url",
    "auto_merge_enabled",
    "auto_confirm_plans",
    "created_at",
    "updated_at",
    "version",
}
CHANGING = pytest.mark.parametrize("method", ["PUT", "PATCH"])


async def test_a_new_project_is_answered_whole(client: httpx.AsyncClient) -> None:
    body = new_project()
    response = await client.post("/api/projects", json=body)
    assert response.status_code == 201
    project = response.json()
    assert project.keys() == FIELDS
    assert response.headers["location"] == f"/api/projects/{project['id']}"
    assert response.headers["content-type"] == "application/json"
    assert {name: project[name] for name in body} == body
    assert isinstance(project["id"], int)
    assert (project["status"], project["webhook_url"]) == ("active", None)
    assert (project["auto_merge_enabled"], project["auto_confirm_plans"]) == (False, False)
    assert project["version"] == 1
    assert TIME.fullmatch(project["created_at"])
    assert project["updated_at"] == project["created_at"]
    read = await client.get(response.headers["location"])
    assert (read.status_code, read.json()) == (200, project)


async def test_every_field_is_stored_as_it_was_sent(client: httpx.AsyncClient) -> None:
    body = {
        "name": "  Gr\u00fc\u00dfe \U0001f511\nline\ttab \u200d ",
        "github_owner": "\u00c4cme",
        "github_repo": "Re.po_-1",
        "status": "archived",
        "webhook_url": "https://hooks.example.com:8443/a?b=c&d=%20#e",
        "auto_merge_enabled": True,
        "auto_confirm_plans": True,
    }
    project = (await client.post("/api/projects", json=body)).json()
    read = (await client.get(f"/api/projects/{project['id']}")).json()
    assert {name: read[name] for name in body} == body


@pytest.mark.parametrize(("field", "longest"), [("name", 255), ("github_owner", 100)])
async def test_a_text_may_be_as_long_as_is_said(
    client: httpx.AsyncClient, field: str, longest: int
) -> None:
    for letter in ("x", "\u00e9", "\U0001f511"):
        project = await make_project(client, **{field: letter * longest})
        assert project[field] == letter * longest
        longer = new_project(**{field: letter * (longest + 1)})
        assert places(await client.post("/api/projects", json=longer)) == [f"/{field}"]


async def test_fields_that_only_answers_have_are_ignored(client: httpx.AsyncClient) -> None:
    body = new_project(id=99, created_at="x", updated_at=None, version=7, project_id="y")
    project = (await client.post("/api/projects", json=body)).json()
    assert project["id"] != 99
    assert project["version"] == 1


@CHANGING
async def test_what_was_read_can_be_sent_back(client: httpx.AsyncClient, method: str) -> None:
    project = await make_project(client, webhook_url="http://example.com/")
    path = f"/api/projects/{project['id']}"
    response = await client.request(method, path, json=project)
    assert (response.status_code, response.json()) == (200, project)
    assert (await client.get(path)).json() == project


@CHANGING
async def test_given_fields_change_and_others_stay(client: httpx.AsyncClient, method: str) -> None:
    project = await make_project(client, webhook_url="http://example.com/")
    path = f"/api/projects/{project['id']}"
    changes: list[dict[str, Any]] = [
        {"name": "Other"},
        {"github_owner": "Someone", "github_repo": "else"},
        {"status": "inactive"},
        {"auto_merge_enabled": True},
        {"auto_confirm_plans": True, "name": "Third"},
        {"webhook_url": "https://example.org/hook"},
        {"webhook_url": None},
    ]
    for change in changes:
        response = await client.request(method, path, json=change)
        assert response.status_code == 200
        changed = response.json()
        assert changed == {
            **project,
            **change,
            "version": project["version"] + 1,
            "updated_at": changed["updated_at"],
        }
        assert changed["updated_at"] >= project["updated_at"]
        assert (await client.get(path)).json() == changed
        project = changed


@CHANGING
async def test_what_changes_nothing_is_no_new_version(
    client: httpx.AsyncClient, application: FastAPI, method: str
) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    before = all_rows(manager_of(application))
    bodies: list[dict[str, Any]] = [
        {},
        {"name": project["name"]},
        {"webhook_url": None, "auto_merge_enabled": False},
        {"version": 40, "id": 7},
    ]
    for body in bodies:
        response = await client.request(method, path, json=body)
        assert (response.status_code, response.json()) == (200, project)
    assert all_rows(manager_of(application)) == before


@CHANGING
async def test_null_clears_only_what_can_be_empty(client: httpx.AsyncClient, method: str) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    fields = project.keys() - {"id", "created_at", "updated_at", "version", "webhook_url"}
    for field in sorted(fields):
        assert places(await client.request(method, path, json={field: None})) == [f"/{field}"]
    assert (await client.get(path)).json() == project


WRONG: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", " \u00a0\t"),
    ("name", "a\0b"),
    ("name", 5),
    ("github_owner", ""),
    ("github_owner", "a/b"),
    ("github_owner", "a b"),
    ("github_repo", ".."),
    ("github_repo", "a\n"),
    ("status", "deleted"),
    ("status", "ACTIVE"),
    ("status", 1),
    ("webhook_url", "ftp://example.com/"),
    ("webhook_url", "https://"),
    ("webhook_url", "https://user:password@example.com/"),
    ("webhook_url", "https://example.com/" + "x" * 2048),
    ("webhook_url", ""),
    ("auto_merge_enabled", 1),
    ("auto_merge_enabled", "true"),
    ("auto_confirm_plans", "yes"),
    ("unknown_field", 1),
]


async def test_a_wrong_value_is_named_by_its_place_and_stores_nothing(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client)
    before = all_rows(manager_of(application))
    path = f"/api/projects/{project['id']}"
    for field, value in WRONG:
        body = new_project(**{field: value})
        answers = [
            await client.post("/api/projects", json=body),
            await client.put(path, json={field: value}),
            await client.patch(path, json={field: value}),
        ]
        for response in answers:
            assert places(response) == [f"/{field}"], value
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_all_that_is_wrong_is_told_at_once(client: httpx.AsyncClient) -> None:
    body = {
        "name": "",
        "settings": {"branch_name": "a..b"},
        "secrets": [{"key": "1", "value": "v"}, {"key": "A"}],
        "extra": 1,
    }
    response = await client.post("/api/projects", json=body)
    assert sorted(places(response)) == [
        "/extra",
        "/github_owner",
        "/github_repo",
        "/name",
        "/secrets/0/key",
        "/secrets/1/value",
        "/settings/branch_name",
    ]


@pytest.mark.shared
async def test_an_unknown_name_is_not_repeated(client: httpx.AsyncClient) -> None:
    for name in ("sentinel value", "sentinel/~", "sentinel" * 20, "\u00e4sentinel", "9sentinel"):
        response = await client.post("/api/projects", json=new_project(**{name: 1}))
        assert places(response) == [""]
        assert "sentinel" not in response.text


@pytest.mark.shared
async def test_thousands_of_errors_are_not_all_told(client: httpx.AsyncClient) -> None:
    body = {f"field_{number}": 1 for number in range(5000)}
    assert len(places(await client.post("/api/projects", json=body))) == 100


@pytest.mark.shared
async def test_an_unused_id_is_not_found(client: httpx.AsyncClient) -> None:
    for id in ("1", "999", str(2**63 - 1)):
        path = f"/api/projects/{id}"
        problem(await client.get(path), "project_not_found")
        problem(await client.put(path, json={"name": "x"}), "project_not_found")
        problem(await client.patch(path, json={"name": "x"}), "project_not_found")
        problem(await client.delete(path), "project_not_found")
        problem(await client.delete(f"{path}?purge=true"), "project_not_found")
        problem(await client.post(f"{path}/restore"), "project_not_found")
        problem(await client.get(f"{path}/full"), "project_not_found")
        problem(await client.get(f"{path}/configuration"), "project_not_found")


async def test_the_former_mock_s_calls_answer_as_before(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/projects")).json()["projects"] == []
    body = json.dumps({"name": "n", "github_owner": "o", "github_repo": "r"})
    created = await client.post("/api/projects", content=body, headers=JSON)
    assert created.json()["name"] == "n"
    listed = (await client.get("/api/projects")).json()
    assert listed["projects"] == [created.json()]
    path = f"/api/projects/{created.json()['id']}/configuration"
    assert (await client.get(path)).json()["branch_name"] == "main"
