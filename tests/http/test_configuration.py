"""The configuration of a project over HTTP, and everything about a project in one request."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import TIME, all_rows, make_project, manager_of, places, problem

FIELDS = {
    "id",
    "project_id",
    "planning_statement",
    "repository_rules",
    "setup_commands",
    "branch_name",
    "created_at",
    "updated_at",
    "version",
}
TEXTS = ("planning_statement", "repository_rules", "setup_commands")
CHANGING = pytest.mark.parametrize("method", ["PUT", "PATCH"])


async def make(client: httpx.AsyncClient, **settings: Any) -> tuple[str, dict[str, Any]]:
    """Make a project. Returns the path of its configuration, and the configuration."""
    project = await make_project(client, settings=settings)
    path = f"/api/projects/{project['id']}/configuration"
    response = await client.get(path)
    assert response.status_code == 200
    configuration: dict[str, Any] = response.json()
    assert configuration["project_id"] == project["id"]
    return path, configuration


@pytest.mark.shared
async def test_a_configuration_is_flat_and_whole(client: httpx.AsyncClient) -> None:
    _, configuration = await make(client)
    assert configuration.keys() == FIELDS
    assert [configuration[name] for name in TEXTS] == [None, None, None]
    assert configuration["branch_name"] == "main"
    assert configuration["version"] == 1
    assert TIME.fullmatch(configuration["created_at"])


@pytest.mark.shared
async def test_texts_are_kept_to_the_letter(client: httpx.AsyncClient) -> None:
    text = "\ufeff# Rules\r\n\ttabs\r \u2028 \U0001f511 e\u0301 \u202e\x01\x7f end "
    path, configuration = await make(client, **dict.fromkeys(TEXTS, text), branch_name="a/b-c")
    assert [configuration[name] for name in TEXTS] == [text] * 3
    assert (await client.get(path)).json() == configuration


@pytest.mark.shared
async def test_a_text_may_be_as_large_as_a_request(client: httpx.AsyncClient) -> None:
    text = "x" * 1_000_000
    path, _ = await make(client)
    changed = (await client.put(path, json={"planning_statement": text})).json()
    assert changed["planning_statement"] == text
    assert places(await client.put(path, json={"planning_statement": text + "y"})) == [
        "/planning_statement"
    ]


async def test_a_project_without_settings_has_the_defaults(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    path, configuration = await make(client)
    manager = manager_of(application)
    # As an earlier version left it, whose record does not tell of a configuration either.
    manager.execute_command("DELETE FROM project_settings")
    manager.execute_command("DELETE FROM audit_entries WHERE action = 'settings.created'")
    defaults = (await client.get(path)).json()
    assert defaults.keys() == FIELDS
    for name in (*TEXTS, "branch_name", "project_id"):
        assert defaults[name] == configuration[name]
    # Sending the current values changes nothing.
    before = all_rows(manager)
    for body in ({}, {"branch_name": "main", "setup_commands": None}, defaults):
        assert (await client.put(path, json=body)).json() == defaults
    assert all_rows(manager) == before
    full = (await client.get(path.replace("configuration", "full"))).json()
    assert full["settings"] == defaults
    changed = (await client.put(path, json={"setup_commands": "make"})).json()
    assert (changed["setup_commands"], changed["branch_name"]) == ("make", "main")
    assert changed["version"] == 1
    assert (await client.get(path)).json() == changed


@pytest.mark.shared
@CHANGING
async def test_given_fields_change_and_others_stay(client: httpx.AsyncClient, method: str) -> None:
    path, configuration = await make(client, planning_statement="p", setup_commands="s")
    changes: list[dict[str, Any]] = [
        {"planning_statement": "q"},
        {"repository_rules": "r", "branch_name": "release/1.0"},
        {"setup_commands": ""},
        {"setup_commands": None, "planning_statement": None},
    ]
    for change in changes:
        response = await client.request(method, path, json=change)
        assert response.status_code == 200
        changed = response.json()
        assert changed == {
            **configuration,
            **change,
            "version": configuration["version"] + 1,
            "updated_at": changed["updated_at"],
        }
        assert changed["updated_at"] >= configuration["updated_at"]
        assert (await client.get(path)).json() == changed
        configuration = changed


@pytest.mark.shared
@CHANGING
async def test_what_was_read_can_be_sent_back(
    client: httpx.AsyncClient, application: FastAPI, method: str
) -> None:
    path, configuration = await make(client, planning_statement="p")
    before = all_rows(manager_of(application))
    for body in (configuration, {}, {"planning_statement": "p"}, {"repository_rules": None}):
        response = await client.request(method, path, json=body)
        assert (response.status_code, response.json()) == (200, configuration)
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_a_configuration_that_was_read_can_make_a_project(client: httpx.AsyncClient) -> None:
    _, configuration = await make(client, planning_statement="p", branch_name="b")
    _, copied = await make(client, **configuration)
    assert copied["project_id"] != configuration["project_id"]
    assert (copied["planning_statement"], copied["branch_name"]) == ("p", "b")
    assert copied["version"] == 1


TEXTS_THAT_ARE_NONE: list[Any] = [5, [], "a\0b"]
NO_BRANCHES: list[Any] = [
    *(None, 5, "", " ", "a b", "a..b", "/a", "a/", "a//b", "a.lock", "a.lock/b", ".a"),
    *("a/.b", "a.", "@", "a@{b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b"),
    *("-a", "HEAD", "a\x7f", "a\tb", "a\n", "x" * 245, "\u00e9" * 123),
]
WRONG: list[tuple[str, Any]] = [
    *((name, value) for name in TEXTS for value in TEXTS_THAT_ARE_NONE),
    *(("branch_name", value) for value in NO_BRANCHES),
    ("unknown", "x"),
]


@pytest.mark.shared
async def test_a_wrong_value_changes_nothing(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    path, _ = await make(client, planning_statement="p")
    before = all_rows(manager_of(application))
    for field, value in WRONG:
        for method in ("PUT", "PATCH"):
            body = {"setup_commands": "x", field: value}
            response = await client.request(method, path, json=body)
            assert places(response) == [f"/{field}"], value
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_what_git_takes_is_a_branch_name(client: httpx.AsyncClient) -> None:
    path, _ = await make(client)
    for name in ("a", "feature/x", "a.b", "a@b", "v1.0-rc_2", "\u00e9\U0001f511", "x" * 244, "@a"):
        response = await client.put(path, json={"branch_name": name})
        assert response.json()["branch_name"] == name


@pytest.mark.shared
async def test_full_is_project_settings_and_secrets(client: httpx.AsyncClient) -> None:
    secrets = [{"key": f"KEY_{number}", "value": f"value-{number}"} for number in range(60)]
    project = await make_project(client, settings={"branch_name": "b"}, secrets=secrets)
    path = f"/api/projects/{project['id']}"
    full = (await client.get(f"{path}/full")).json()
    assert full.keys() == {"project", "settings", "secrets", "secret_count"}
    assert full["project"] == project
    assert full["settings"] == (await client.get(f"{path}/configuration")).json()
    assert full["secret_count"] == len(full["secrets"]) == 60
    listed = (await client.get(f"{path}/secrets?limit=500")).json()["secrets"]
    assert full["secrets"] == listed
    assert all(secret["value"] is None for secret in full["secrets"])


@pytest.mark.shared
async def test_full_of_a_deleted_project_is_still_there(client: httpx.AsyncClient) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    path = f"/api/projects/{project['id']}"
    await client.delete(path)
    full = (await client.get(f"{path}/full")).json()
    assert full["project"]["status"] == "deleted"
    assert full["secret_count"] == 1
    problem(await client.get("/api/projects/99/full"), "project_not_found")
