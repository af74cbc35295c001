"""Secrets of one moment over HTTP: all or those named, as JSON or as a file."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.runtime import HeadsFile, Runtime
from tests.secret_files.files import read_by_docker, read_by_dotenv
from tests.support.api import Api
from tests.support.clients import AsToken
from tests.support.http import JSON, all_rows, make_project, manager_of, places, problem

SECRETS = "/api/projects/1/secrets"
REVEAL = f"{SECRETS}/reveal"
VALUES = {"A_KEY": "it's", "B_KEY": 'two\nlines "$HOME"', "C_KEY": "\u00e9\U0001f511"}


async def put(client: httpx.AsyncClient, **values: str) -> None:
    body = {"secrets": [{"key": key, "value": value} for key, value in values.items()]}
    answer = await client.put(SECRETS, json=body)
    assert answer.is_success, answer.text


async def audited(client: httpx.AsyncClient, action: str = "secret.revealed") -> list[Any]:
    """The targets and versions of these entries, the oldest first."""
    answer = await client.get("/api/audit", params={"action": action, "limit": 500})
    return [(one["target"], one["version"]) for one in reversed(answer.json()["entries"])]


def damage(app: FastAPI, statement: str) -> None:
    """Change the database behind the service's back."""
    manager_of(app).execute_command(statement)


@pytest.fixture
async def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The admin's client, with a project that has `VALUES`, and a second version of A_KEY."""
    await make_project(client)
    await put(client, A_KEY="earlier")
    await put(client, **VALUES)
    return client


async def test_all_are_revealed_with_their_versions(client: httpx.AsyncClient) -> None:
    for content in (b"", b"{}", b'{"keys": null}'):
        answer = await client.post(REVEAL, content=content, headers=JSON if content else {})
        assert answer.json() == {
            "secrets": VALUES,
            "versions": {"A_KEY": 2, "B_KEY": 1, "C_KEY": 1},
        }
        assert list(answer.json()["secrets"]) == sorted(VALUES)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        assert "etag" not in answer.headers


async def test_those_named_are_revealed_and_each_is_recorded(client: httpx.AsyncClient) -> None:
    answer = await client.post(REVEAL, json={"keys": ["C_KEY", "A_KEY"]})
    assert answer.json() == {
        "secrets": {"A_KEY": VALUES["A_KEY"], "C_KEY": VALUES["C_KEY"]},
        "versions": {"A_KEY": 2, "C_KEY": 1},
    }
    assert await audited(client) == [
        ("projects/1/secrets/A_KEY", 2),
        ("projects/1/secrets/C_KEY", 1),
    ]


async def test_a_project_without_secrets_and_a_deleted_one(client: httpx.AsyncClient) -> None:
    other = (await make_project(client))["id"]
    path = f"/api/projects/{other}/secrets/reveal"
    assert (await client.post(path)).json() == {"secrets": {}, "versions": {}}
    assert (await client.post(f"{path}?format=dotenv")).text == ""
    # As with a single secret, a deleted project still shows what it has.
    await client.delete("/api/projects/1")
    assert (await client.post(REVEAL)).json()["secrets"] == VALUES
    problem(await client.post("/api/projects/987654/secrets/reveal"), "project_not_found")


async def test_a_dotenv_file_is_read_back_to_the_same_values(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{REVEAL}?format=dotenv")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert read_by_dotenv(answer.text) == VALUES
    assert len(await audited(client)) == 3


async def test_a_docker_file_has_a_line_for_each(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{REVEAL}?format=docker", json={"keys": ["C_KEY", "A_KEY"]})
    assert answer.text == "A_KEY=it's\nC_KEY=\u00e9\U0001f511\n"
    assert dict(read_by_docker(answer.text)) == {key: VALUES[key] for key in ("A_KEY", "C_KEY")}
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("query", "keys", "place"),
    [
        ("?format=docker", None, "/query/format"),
        ("?format=docker", ["C_KEY", "B_KEY"], "/keys/1"),
        ("?format=dotenv", None, "/query/format"),
        ("?format=dotenv", ["BAD", "A_KEY"], "/keys/0"),
    ],
)
async def test_what_a_format_can_not_carry_is_refused_with_its_key(
    client: httpx.AsyncClient, query: str, keys: list[str] | None, place: str
) -> None:
    await put(client, BAD="a\rb `")
    before = await audited(client)
    answer = await client.post(REVEAL + query, json={"keys": keys})
    assert places(answer) == [place]
    assert answer.json()["key"] == ("B_KEY" if "docker" in query else "BAD")
    assert "lines" not in answer.text.replace("line.", "")
    assert await audited(client) == before


async def test_an_unknown_key_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.post(REVEAL, json={"keys": ["A_KEY", "NOTHING", "NEITHER"]})
    found = problem(answer, "secret_not_found")
    assert found["key"] == "NOTHING"
    assert [error["pointer"] for error in found["errors"]] == ["/keys/1"]
    await client.delete(f"{SECRETS}/B_KEY")
    answer = await client.post(REVEAL, json={"keys": ["B_KEY"]})
    assert problem(answer, "secret_not_found")["key"] == "B_KEY"
    assert (await client.post(REVEAL)).json()["secrets"].keys() == {"A_KEY", "C_KEY"}
    assert len(await audited(client)) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE project_secrets SET version = 7 WHERE key_name = 'B_KEY'",
        "UPDATE project_secrets SET ciphertext = 'v1' WHERE key_name = 'B_KEY'",
        "DELETE FROM project_secrets WHERE key_name = 'B_KEY'",
    ],
)
async def test_an_unreadable_one_is_named_and_nothing_is_revealed(
    client: httpx.AsyncClient, application: FastAPI, statement: str
) -> None:
    damage(application, statement)
    answer = await client.post(REVEAL, json={"keys": ["A_KEY", "B_KEY"]})
    assert problem(answer, "secret_unreadable")["key"] == "B_KEY"
    if not statement.startswith("DELETE"):
        for query in ("", "?format=dotenv"):
            answer = await client.post(REVEAL + query)
            assert problem(answer, "secret_unreadable")["key"] == "B_KEY"
    assert (await client.post(REVEAL, json={"keys": ["A_KEY"]})).status_code == 200
    assert [target for target, _ in await audited(client)] == ["projects/1/secrets/A_KEY"]


async def test_without_the_projects_key_its_secrets_are_unreadable(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    damage(application, "UPDATE project_keys SET wrapped = 'x'")
    application.state.service.kit.vault.forget()
    answer = await client.post(REVEAL)
    assert problem(answer, "secret_unreadable")["key"] == "A_KEY"
    assert await audited(client) == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"keys": []}, "/keys"),
        ({"keys": ["A_KEY", "B_KEY", "A_KEY"]}, "/keys/2"),
        ({"keys": [f"K{number}" for number in range(501)]}, "/keys"),
        ({"keys": ["not-a-key"]}, "/keys/0"),
        ({"keys": "A_KEY"}, "/keys"),
        ({"key": ["A_KEY"]}, "/key"),
    ],
)
async def test_wrong_keys_are_refused(
    client: httpx.AsyncClient, body: dict[str, Any], place: str
) -> None:
    answer = await client.post(REVEAL, json=body)
    assert places(answer) == [place]
    assert "not-a-key" not in answer.text


async def test_an_unknown_format_is_refused(client: httpx.AsyncClient) -> None:
    assert places(await client.post(f"{REVEAL}?format=yaml")) == ["/query/format"]
    assert (await client.post(f"{REVEAL}?format=json")).json()["secrets"] == VALUES
    # A secret may have this name too.
    assert (await client.get(REVEAL)).json()["code"] == "secret_not_found"
    assert (await client.patch(REVEAL)).status_code == 405


async def test_an_idempotency_key_is_ignored(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    for _ in range(2):
        answer = await client.post(REVEAL, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers
    assert len(await audited(client)) == 6
    assert not dict(all_rows(manager_of(application)))["stored_answers"]


async def test_refusals_are_recorded_once_a_minute(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    reader = await as_token("projects:read", "secrets:write")
    other = (await make_project(client))["id"]
    bound = await as_token("secrets:reveal", project_ids=[other])
    for _ in range(2):
        problem(await reader.post(REVEAL, json={"keys": ["A_KEY"]}), "forbidden")
        problem(await bound.post(REVEAL), "project_not_found")
    assert await audited(client, "secret.reveal_refused") == [("projects/1/secrets", None)] * 2
    assert await audited(client) == []
    assert (await bound.post(REVEAL.replace("1", str(other)))).status_code == 200


async def test_the_head_that_covers_the_reveals_is_kept_first(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    runtime: Runtime = application.state.runtime
    await runtime.background.stop()
    assert (await client.post(REVEAL)).status_code == 200
    newest = HeadsFile(runtime.heads.path).newest()
    head = await runtime.service.audit.head()
    assert newest is not None
    assert head is not None
    assert newest.id == head.id
    runtime.heads.path.unlink()
    runtime.heads.path.mkdir()
    for query in ("", "?format=dotenv"):
        answer = await client.post(REVEAL + query)
        problem(answer, "database_busy")
        assert "it's" not in answer.text


async def test_all_values_are_of_one_moment(api: Api) -> None:
    keys = [f"KEY_{number}" for number in range(20)]

    async def change() -> None:
        for turn in range(20):
            secrets = [{"key": key, "value": f"{turn}"} for key in keys]
            await api.call("PUT", SECRETS, {"secrets": secrets})

    async def look() -> None:
        for _ in range(20):
            revealed = await api.post(REVEAL)
            assert len(set(revealed["secrets"].values())) <= 1
            assert len(set(revealed["versions"].values())) <= 1

    await change()
    await asyncio.gather(change(), look(), look())


async def test_more_than_an_answer_holds_is_refused(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit is 32 MiB.
    monkeypatch.setattr("backend.services.projects.secret_files.MAX_REVEALED_BYTES", 1000)
    await put(client, LARGE="x" * 1100)
    assert places(await client.post(REVEAL)) == ["/keys"]
    answer = await client.post(REVEAL, json={"keys": ["LARGE"]})
    assert len(json.loads(answer.content)["secrets"]["LARGE"]) == 1100
