"""Sixty-four clients at the same time: one winner where only one is possible, and otherwise no
change is lost."""

import asyncio
from collections import Counter
from typing import Any

import httpx

from tests.support.http import make_project, new_project, problem, walk

CLIENTS = 64


async def test_one_repository_one_project(client: httpx.AsyncClient) -> None:
    bodies = [
        new_project(
            github_owner="Acme" if number % 2 else "aCME",
            github_repo="tool",
            secrets=[{"key": "WINNER", "value": str(number)}],
        )
        for number in range(CLIENTS)
    ]
    answers = await asyncio.gather(*(client.post("/api/projects", json=b) for b in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CLIENTS - 1}
    (winner,) = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer is not winner:
            assert problem(answer, "project_exists")["existing_id"] == winner.json()["id"]
    listed = await walk(client, "/api/projects", "projects")
    assert listed == [winner.json()]
    value = await client.get(f"/api/projects/{winner.json()['id']}/secrets/WINNER/value")
    assert value.json()["value"] == str(answers.index(winner))


async def test_one_restored_or_made(client: httpx.AsyncClient) -> None:
    deleted = []
    for _ in range(CLIENTS // 2):
        project = await make_project(client, github_owner="acme", github_repo="tool")
        await client.delete(f"/api/projects/{project['id']}")
        deleted.append(project["id"])
    body = new_project(github_owner="acme", github_repo="tool")
    answers = await asyncio.gather(
        *(client.post(f"/api/projects/{id}/restore") for id in deleted),
        *(client.post("/api/projects", json=body) for _ in deleted),
    )
    counted = Counter(answer.status_code for answer in answers)
    assert counted[409] == CLIENTS - 1
    assert counted[200] + counted[201] == 1
    assert len(await walk(client, "/api/projects", "projects")) == 1


async def test_changes_of_different_fields_are_all_kept(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    of_project: dict[str, Any] = {
        "name": "changed",
        "github_owner": "changed-owner",
        "github_repo": "changed-repo",
        "status": "archived",
        "webhook_url": "https://changed.example.com/",
        "auto_merge_enabled": True,
        "auto_confirm_plans": True,
    }
    of_settings: dict[str, Any] = {
        "planning_statement": "changed",
        "repository_rules": "changed",
        "setup_commands": "changed",
        "branch_name": "changed",
    }
    # Each change is sent several times: only the first one has an effect.
    answers = await asyncio.gather(
        *(client.put(path, json={k: v}) for k, v in list(of_project.items()) * 6),
        *(client.patch(f"{path}/configuration", json={k: v}) for k, v in of_settings.items()),
        *(client.put(f"{path}/secrets/KEY_{n}", json={"value": str(n)}) for n in range(18)),
    )
    assert len(answers) == CLIENTS
    assert {answer.status_code for answer in answers} <= {200, 201}
    full = (await client.get(f"{path}/full")).json()
    assert {name: full["project"][name] for name in of_project} == of_project
    assert full["project"]["version"] == 1 + len(of_project)
    assert {name: full["settings"][name] for name in of_settings} == of_settings
    assert full["settings"]["version"] == 1 + len(of_settings)
    assert full["secret_count"] == 18


async def test_every_change_of_one_field_is_one_version(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    answers = await asyncio.gather(
        *(client.put(path, json={"name": f"name {number}"}) for number in range(CLIENTS))
    )
    versions = sorted(answer.json()["version"] for answer in answers)
    assert versions == list(range(2, CLIENTS + 2))
    last = max((answer.json() for answer in answers), key=lambda found: found["version"])
    assert (await client.get(path)).json() == last


async def test_mixed_upserts_count_what_they_did(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/secrets"
    keys = [f"KEY_{number}" for number in range(10)]
    answers = await asyncio.gather(
        *(
            client.put(
                path,
                json={
                    "secrets": [
                        {"key": keys[(number + step) % 10], "value": str(number % 7)}
                        for step in range(4)
                    ]
                },
            )
            for number in range(CLIENTS)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    total: Counter[str] = Counter()
    for answer in answers:
        total.update(answer.json())
    assert total.total() == CLIENTS * 4
    secrets = await walk(client, path, "secrets")
    assert sorted(secret["key"] for secret in secrets) == keys
    assert total["created"] == len(keys)
    assert sum(secret["version"] - 1 for secret in secrets) == total["updated"]
    for key in keys:
        value = (await client.get(f"{path}/{key}/value")).json()["value"]
        assert value in {str(number) for number in range(7)}


async def test_making_one_key_has_one_winner(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/secrets"
    posts = [client.post(path, json={"key": "A", "value": str(n)}) for n in range(CLIENTS)]
    answers = await asyncio.gather(*posts)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CLIENTS - 1}
    puts = [client.put(f"{path}/B", json={"value": str(n)}) for n in range(CLIENTS)]
    answers = await asyncio.gather(*puts)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: CLIENTS - 1}
    versions = sorted(answer.json()["version"] for answer in answers)
    assert versions == list(range(1, CLIENTS + 1))


async def test_deleting_once(client: httpx.AsyncClient) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    path = f"/api/projects/{project['id']}"
    deletes = [client.delete(f"{path}/secrets/A") for _ in range(CLIENTS)]
    answers = await asyncio.gather(*deletes)
    assert Counter(answer.status_code for answer in answers) == {204: 1, 404: CLIENTS - 1}
    purges = [client.delete(f"{path}?purge=true") for _ in range(CLIENTS)]
    answers = await asyncio.gather(*purges)
    assert Counter(answer.status_code for answer in answers) == {204: 1, 404: CLIENTS - 1}
