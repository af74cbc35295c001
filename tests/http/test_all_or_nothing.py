"""Writes that fail halfway, reads during writes, and clients that disconnect."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from config.settings import Settings
from database.connection_manager import DatabaseManager
from tests.http.raw import Wire
from tests.support.clients import token_of_first_start
from tests.support.http import all_rows, make_project, manager_of, new_project, problem
from tests.support.servers import RunningServer

SECRETS = [{"key": f"KEY_{number}", "value": f"value {number}"} for number in range(5)]


@pytest.fixture
def broken_in_the_middle(application: FastAPI) -> DatabaseManager:
    """A database that refuses the third secret and any settings with a certain branch."""
    manager = manager_of(application)
    for table, condition in (
        ("project_secrets", "NEW.key_name = 'KEY_2'"),
        ("project_settings", "NEW.branch_name = 'broken'"),
    ):
        for event in ("INSERT", "UPDATE"):
            manager.execute_command(
                f"CREATE TRIGGER break_{event}_{table} BEFORE {event} ON {table}"
                f" WHEN {condition} BEGIN SELECT RAISE(ABORT, 'sentinel'); END"
            )
    return manager


async def test_a_project_whose_third_secret_fails_is_not_there(
    client: httpx.AsyncClient, broken_in_the_middle: DatabaseManager
) -> None:
    await make_project(client)
    before = all_rows(broken_in_the_middle)
    for body in (
        new_project(settings={"setup_commands": "x"}, secrets=SECRETS),
        new_project(settings={"branch_name": "broken"}),
    ):
        response = await client.post("/api/projects", json=body)
        problem(response, "internal")
        assert "sentinel" not in response.text
        # The repository is still available.
        free = {**body, "settings": {}, "secrets": []}
        assert all_rows(broken_in_the_middle) == before
        made = (await client.post("/api/projects", json=free)).json()
        await client.delete(f"/api/projects/{made['id']}?purge=true")
        before = all_rows(broken_in_the_middle)


async def test_an_upsert_whose_third_secret_fails_changed_none(
    client: httpx.AsyncClient, broken_in_the_middle: DatabaseManager
) -> None:
    project = await make_project(client, secrets=SECRETS[:2])
    path = f"/api/projects/{project['id']}"
    before = all_rows(broken_in_the_middle)
    changed = [{**secret, "value": "changed"} for secret in SECRETS]
    problem(await client.put(f"{path}/secrets", json={"secrets": changed}), "internal")
    response = await client.put(f"{path}/configuration", json={"branch_name": "broken"})
    problem(response, "internal")
    assert all_rows(broken_in_the_middle) == before
    assert (await client.get(f"{path}/secrets/KEY_0/value")).json()["value"] == "value 0"


async def test_one_that_fails_takes_none_of_those_along_that_commit_with_it(
    client: httpx.AsyncClient, broken_in_the_middle: DatabaseManager
) -> None:
    good = [client.post("/api/projects", json=new_project()) for _ in range(20)]
    bad = [client.post("/api/projects", json=new_project(secrets=SECRETS)) for _ in range(20)]
    answers = await asyncio.gather(*(x for pair in zip(good, bad, strict=True) for x in pair))
    assert [answer.status_code for answer in answers] == [201, 500] * 20
    rows = broken_in_the_middle.execute_query("SELECT id FROM projects ORDER BY id")
    assert sorted(answer.json()["id"] for answer in answers[::2]) == [row["id"] for row in rows]
    assert broken_in_the_middle.execute_query("SELECT * FROM project_secrets") == []


async def test_full_is_of_one_moment(client: httpx.AsyncClient) -> None:
    project = await make_project(client, secrets=SECRETS)
    path = f"/api/projects/{project['id']}"
    done = asyncio.Event()
    seen: set[int] = set()

    async def write() -> None:
        for number in range(60):
            changed = [{**secret, "value": f"{number}"} for secret in SECRETS]
            await client.put(f"{path}/secrets", json={"secrets": changed})
        done.set()

    async def read() -> None:
        while not done.is_set():
            secrets = (await client.get(f"{path}/full")).json()["secrets"]
            versions = {secret["version"] for secret in secrets}
            assert len(versions) == 1
            seen.update(versions)

    await asyncio.gather(write(), *(read() for _ in range(4)))
    assert len(seen) > 3


def whole_or_absent(rows: dict[str, list[dict[str, Any]]]) -> int:
    """The number of projects, after a check that each is complete."""
    for project in rows["projects"]:
        of_it = {
            table: [row for row in rows[table] if row["project_id"] == project["id"]]
            for table in ("project_settings", "project_secrets", "project_keys")
        }
        assert [row["setup_commands"] for row in of_it["project_settings"]] == ["make"]
        assert len(of_it["project_secrets"]) == len(SECRETS)
        assert len(of_it["project_keys"]) == 1
    return len(rows["projects"])


def requests(count: int) -> Iterator[bytes]:
    """Bodies of projects with every part."""
    for _ in range(count):
        yield json.dumps(new_project(settings={"setup_commands": "make"}, secrets=SECRETS)).encode()


def test_a_write_of_a_client_that_disconnected_is_whole_or_absent(
    settings: Settings,
) -> None:
    count = 60
    with RunningServer(create_app(settings)) as server:
        token = token_of_first_start(settings)
        for number, body in enumerate(requests(count)):
            with Wire(server, token) as wire:
                wire.head(
                    "POST",
                    "/api/projects",
                    "Content-Type: application/json",
                    f"Content-Length: {len(body)}",
                )
                wire.send(body)
                if number % 3 == 0:
                    assert wire.answer().status == 201
                elif number % 3 == 1:
                    wire.half_close()
        # The server finishes pending requests, and closes the database.
    manager = DatabaseManager(settings.data_dir / "strongroom.db")
    made = whole_or_absent(dict(all_rows(manager)))
    manager.sync_pool.close()
    assert count / 3 <= made <= count


async def test_a_cancelled_request_is_whole_or_absent(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    bodies = [json.loads(body) for body in requests(60)]
    tasks = [asyncio.create_task(client.post("/api/projects", json=body)) for body in bodies]
    for number, task in enumerate(tasks):
        await asyncio.sleep(0)
        if number % 2:
            task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    answered = [answer for answer in answers if isinstance(answer, httpx.Response)]
    assert all(answer.status_code == 201 for answer in answered)
    # After this write, no cancelled one is still running.
    await make_project(client, settings={"setup_commands": "make"}, secrets=SECRETS)
    made = whole_or_absent(dict(all_rows(manager_of(application))))
    assert len(answered) < made <= len(bodies) + 1
