"""Secret tokens of webhooks: stored encrypted, and never shown."""

import io
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import manager_of, problem
from tests.support.webhooks import TOKEN, deliver, make_webhook, repair

SENTINELS = ("sentinel-5f0c-first", "sentinel-5f0c-second")


# Runs in another process: closing a file of an open database would release its locks.
FIND = """
import pathlib, sys
for file in pathlib.Path(sys.argv[1]).rglob("*"):
    if file.is_file() and sys.argv[2].encode() in file.read_bytes():
        print(file.name)
"""


def files_with(directory: Path, text: str) -> set[str]:
    """The files below a directory that contain the text."""
    command = [sys.executable, "-c", FIND, str(directory), text]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


async def test_a_token_shows_nowhere(
    client: httpx.AsyncClient,
    sender: httpx.AsyncClient,
    log: io.StringIO,
    database_path: Path,
) -> None:
    first, second = SENTINELS
    shown: list[str] = []

    async def see(response: httpx.Response) -> None:
        await response.aread()
        shown.append(response.text + str(response.headers))

    client.event_hooks["response"].append(see)
    sender.event_hooks["response"].append(see)
    made = await make_webhook(client, secret_token=first, webhook_type="cloudflare")
    path = f"/api/webhooks/{made['id']}"
    assert (await deliver(sender, made["id"], token=first)).status_code == 202
    await client.patch(path, json={"secret_token": second})
    assert (await deliver(sender, made["id"], token=first, guid="g-2")).status_code == 401
    assert (await deliver(sender, made["id"], token=second, guid="g-3")).status_code == 202
    await client.patch(path, json={"secret_token": [second]})
    await client.patch(path, json={"secret_token": f"{second}\0"})
    await client.patch(path, json={"events": [second.upper()]})
    for url in (path, f"{path}/deliveries", f"{path}/deliveries/1", "/api/audit", "/metrics"):
        await client.get(url)
    await client.get(f"/api/projects/{made['project_id']}/webhooks")
    await client.delete(path)
    for sentinel in SENTINELS:
        assert [text for text in shown if sentinel in text] == []
        assert sentinel not in log.getvalue()
        assert files_with(database_path.parent, sentinel) == set()
    # Text that is stored unencrypted is found, so the search works.
    assert "strongroom.db-wal" in files_with(database_path.parent, "cloudflare")
    assert len(shown) == 16


@pytest.mark.shared
async def test_a_new_token_takes_the_place_of_the_old_one(
    client: httpx.AsyncClient, sender: httpx.AsyncClient
) -> None:
    made = await make_webhook(client, secret_token="the old one")
    path = f"/api/webhooks/{made['id']}"
    assert (await deliver(sender, made["id"], token="the old one", guid="1")).status_code == 202
    assert (await client.patch(path, json={"secret_token": "the new one"})).json()["version"] == 2
    problem(await deliver(sender, made["id"], token="the old one", guid="2"), "unauthenticated")
    assert (await deliver(sender, made["id"], token="the new one", guid="3")).status_code == 202


@pytest.mark.shared
async def test_the_same_token_again_changes_nothing(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client)
    answer = await client.patch(f"/api/webhooks/{made['id']}", json={"secret_token": TOKEN})
    assert answer.json() == made


async def test_null_takes_the_token_away_and_a_later_one_counts_on(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI
) -> None:
    made = await make_webhook(client)
    path = f"/api/webhooks/{made['id']}"
    cleared = (await client.patch(path, json={"secret_token": None})).json()
    assert (cleared["has_secret_token"], cleared["version"]) == (False, 2)
    problem(await deliver(sender, made["id"]), "unauthenticated")
    assert (await client.patch(path, json={"secret_token": None})).json() == cleared
    assert (await client.patch(path, json={"secret_token": TOKEN})).json()["has_secret_token"]
    assert (await deliver(sender, made["id"])).status_code == 202
    rows = manager_of(application).execute_query("SELECT secret_version FROM webhooks")
    assert rows == [{"secret_version": 3}]


@pytest.mark.shared
@pytest.mark.parametrize("token", ["12345678", "é" * 32_768, "a\nb\t\x7f...", " " * 8, "💥" * 8])
async def test_any_characters_may_be_in_a_token(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, token: str
) -> None:
    made = await make_webhook(client, secret_token=token)
    assert (await deliver(sender, made["id"], token=token)).status_code == 202


async def test_a_token_opens_in_its_own_row_only(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI
) -> None:
    project = (await make_webhook(client))["project_id"]
    first = await make_webhook(client, project_id=project)
    second = await make_webhook(client, project_id=project)
    manager = manager_of(application)
    manager.execute_command(
        "UPDATE webhooks SET secret_ciphertext ="
        " (SELECT secret_ciphertext FROM webhooks WHERE id = ?) WHERE id = ?",
        (first["id"], second["id"]),
    )
    problem(await deliver(sender, second["id"]), "unauthenticated")
    assert (await deliver(sender, first["id"])).status_code == 202
    manager.execute_command(
        "UPDATE webhooks SET secret_version = secret_version + 1 WHERE id = ?", (first["id"],)
    )
    problem(await deliver(sender, first["id"], guid="g-2"), "unauthenticated")
    # The webhook is still shown, and all of its fields with a new token repair it.
    path = f"/api/webhooks/{first['id']}"
    assert (await client.get(path)).json()["has_secret_token"] is True
    await repair(client, first["id"], TOKEN)
    assert (await deliver(sender, first["id"], guid="g-3")).status_code == 202


async def test_a_token_can_not_pass_for_a_secret_of_the_project(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    made = await make_webhook(client)
    path = f"/api/projects/{made['project_id']}/secrets"
    # This secret has the same name and version as the webhook's token.
    name = f"_{made['id']}"
    await client.post(path, json={"key": name, "value": "v"})
    manager_of(application).execute_command(
        "UPDATE project_secrets SET key_name = ?, ciphertext ="
        " (SELECT secret_ciphertext FROM webhooks)",
        (str(made["id"]),),
    )
    listed = (await client.get(path)).json()["secrets"]
    assert [(secret["key"], secret["status"]) for secret in listed] == [
        (str(made["id"]), "unreadable")
    ]


async def test_a_token_survives_a_new_key_of_its_project(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI
) -> None:
    made = await make_webhook(client)
    stored = "SELECT project_key_id, secret_ciphertext, secret_version FROM webhooks"
    before = manager_of(application).execute_query(stored)[0]
    rotated = await client.post("/api/keys/rotate", json={"reencrypt": True})
    assert (rotated.status_code, rotated.json()["failed"]) == (200, 0)
    after = manager_of(application).execute_query(stored)[0]
    assert after["secret_version"] == before["secret_version"]
    assert after["project_key_id"] != before["project_key_id"]
    assert after["secret_ciphertext"] != before["secret_ciphertext"]
    assert (await client.get(f"/api/webhooks/{made['id']}")).json() == made
    assert (await deliver(sender, made["id"])).status_code == 202
