"""Values that can't be decrypted: marked as such, refused when used, and no obstacle to anything
else."""

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import make_project, manager_of, problem


@pytest.fixture
async def path(client: httpx.AsyncClient, application: FastAPI) -> str:
    """The path of the secrets GOOD and BAD; the stored text of BAD was changed."""
    project = await make_project(
        client, secrets=[{"key": "GOOD", "value": "good"}, {"key": "BAD", "value": "bad"}]
    )
    changed = manager_of(application).execute_command(
        "UPDATE project_secrets"
        " SET ciphertext = replace(ciphertext, substr(ciphertext, -4), 'AAAA')"
        " WHERE key_name = 'BAD'"
    )
    assert changed == 1
    return f"/api/projects/{project['id']}/secrets"


async def test_an_unreadable_secret_never_breaks_a_list(
    client: httpx.AsyncClient, path: str
) -> None:
    listed = (await client.get(path)).json()["secrets"]
    full = (await client.get(path.replace("/secrets", "/full"))).json()["secrets"]
    for secrets in (listed, full):
        assert {s["key"]: s["status"] for s in secrets} == {"GOOD": "ok", "BAD": "unreadable"}
        assert all(secret["value"] is None for secret in secrets)
    assert (await client.get(f"{path}/BAD")).json()["status"] == "unreadable"


async def test_using_it_is_a_conflict(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"{path}/BAD/value")
    problem(response, "secret_unreadable")
    assert "AAAA" not in response.text
    assert (await client.get(f"{path}/GOOD/value")).json()["value"] == "good"


async def test_it_can_be_replaced(client: httpx.AsyncClient, path: str) -> None:
    response = await client.put(f"{path}/BAD", json={"value": "new"})
    assert (response.status_code, response.json()["status"]) == (200, "ok")
    assert (await client.get(f"{path}/BAD/value")).json()["value"] == "new"


async def test_an_upsert_repairs_it(client: httpx.AsyncClient, path: str) -> None:
    secrets = [{"key": "GOOD", "value": "good"}, {"key": "BAD", "value": "bad"}]
    response = await client.put(path, json={"secrets": secrets})
    assert response.json() == {"created": 0, "updated": 1, "unchanged": 1}
    assert (await client.get(f"{path}/BAD/value")).json()["value"] == "bad"


async def test_it_can_be_deleted(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.delete(f"{path}/BAD")).status_code == 204
    assert [s["key"] for s in (await client.get(path)).json()["secrets"]] == ["GOOD"]


async def test_under_a_broken_project_key_nothing_is_readable_and_nothing_is_written(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    manager = manager_of(application)
    manager.execute_command("UPDATE project_keys SET wrapped = 'sr1:A256GCM:test:AAAA'")
    listed = (await client.get(path)).json()["secrets"]
    assert {secret["status"] for secret in listed} == {"unreadable"}
    secret = {"key": "NEW", "value": "v"}
    for key in ("GOOD", "BAD"):
        problem(await client.get(f"{path}/{key}/value"), "secret_unreadable")
        problem(await client.put(f"{path}/{key}", json={"value": "v"}), "secret_unreadable")
    problem(await client.post(path, json=secret), "secret_unreadable")
    problem(await client.put(path, json={"secrets": [secret]}), "secret_unreadable")
    problem(await client.put(f"{path}/NEW", json={"value": "v"}), "secret_unreadable")
    assert (await client.get(path)).json()["secrets"] == listed
    other = await make_project(client, secrets=[secret])
    assert (await client.get(f"/api/projects/{other['id']}/secrets/NEW/value")).status_code == 200


async def test_a_value_moved_to_another_secret_is_unreadable(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    await client.put(f"{path}/OTHER", json={"value": "other"})
    manager_of(application).execute_command(
        "UPDATE project_secrets SET ciphertext ="
        " (SELECT ciphertext FROM project_secrets WHERE key_name = 'OTHER')"
        " WHERE key_name = 'GOOD'"
    )
    problem(await client.get(f"{path}/GOOD/value"), "secret_unreadable")
    assert (await client.get(f"{path}/OTHER/value")).json()["value"] == "other"
