"""Backups over HTTP: their place, the answer, and the audit's entries."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from backend.runtime import DataDirectory, find_keyring, restore_backup
from config.settings import Settings
from tests.support.http import make_project, manager_of, places, problem, row_counts, walk

BACKUPS = "/api/backups"
SENTINEL = "sesame-that-must-stay-secret"


async def _backup(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.post(BACKUPS)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_backup_is_described_correctly_and_recorded(
    client: httpx.AsyncClient, application: FastAPI, settings: Settings
) -> None:
    await make_project(client, secrets=[{"key": "KEY", "value": SENTINEL}])
    before = row_counts(manager_of(application))
    made = await _backup(client)
    file = settings.data_dir / "backups" / made["name"]
    content = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0
    assert [path.name for path in file.parent.iterdir()] == [made["name"]]
    assert made["size_bytes"] == len(content)
    assert made["sha256"] == hashlib.sha256(content).hexdigest()
    assert made["duration_seconds"] > 0
    verified = made["verified"]
    # The tables of full-text search are not compared.
    assert verified["rows"].items() <= before.items()
    assert verified["rows"]["project_secrets"] == 1
    assert verified["integrity"] is verified["references"] is True
    assert verified["master_keys"] == ["test"]
    assert verified["audit_entries"] == before["audit_entries"]
    entries = (await client.get("/api/audit", params={"action": "backup.created"})).json()
    assert [entry["target"] for entry in entries["entries"]] == [f"backups/{made['name']}"]
    assert entries["entries"][0]["actor"] == "admin"


async def test_nothing_in_a_backup_gives_a_secret_away(
    client: httpx.AsyncClient, settings: Settings, master_keys: str
) -> None:
    await make_project(client, secrets=[{"key": "KEY", "value": SENTINEL}])
    made = await _backup(client)
    content = (settings.data_dir / "backups" / made["name"]).read_bytes()
    token = client.headers["Authorization"].removeprefix("Bearer ")
    for secret in (SENTINEL, token, master_keys.partition(":")[2]):
        assert secret.encode() not in content
    assert b"KEY" in content


async def test_backups_are_listed_newest_first(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    assert (await client.get(BACKUPS)).json() == {"backups": [], "next_cursor": None}
    made = [await _backup(client) for _ in range(3)]
    folder = settings.data_dir / "backups"
    for name in ("notes.txt", "strongroom-.db", ".strongroom-x.partial"):
        (folder / name).write_text("not a backup", encoding="utf-8")
    expected = [
        {key: one[key] for key in ("name", "size_bytes", "created_at")} for one in reversed(made)
    ]
    assert await walk(client, BACKUPS, "backups", limit=2) == expected
    assert (await client.get(BACKUPS)).json()["backups"] == expected
    problem(await client.get(BACKUPS, params={"cursor": "AAAA"}), "bad_cursor")


async def test_where_a_backup_goes_is_not_for_a_request_to_say(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    for field in ("path", "name", "destination", "file"):
        response = await client.post(BACKUPS, json={field: "../../elsewhere.db"})
        assert places(response) == [f"/{field}"]
    assert not (settings.data_dir / "backups").exists()
    assert (await client.post(BACKUPS, json={})).status_code == 201
    problem(await client.get(f"{BACKUPS}/../admin.token"), "not_found")


async def test_a_second_one_at_once_has_to_wait(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(BACKUPS) for _ in range(4)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(made) == 1
    for answer in answers:
        if answer is not made[0]:
            problem(answer, "database_busy")
            assert answer.headers["Retry-After"] == "5"
    await _backup(client)


async def test_one_that_is_not_recorded_is_not_made(
    client: httpx.AsyncClient, application: FastAPI, settings: Settings
) -> None:
    await manager_of(application).async_execute_command(
        "CREATE TRIGGER no_backups BEFORE INSERT ON audit_entries"
        " WHEN NEW.action = 'backup.created' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    problem(await client.post(BACKUPS), "internal")
    assert list((settings.data_dir / "backups").iterdir()) == []


async def test_one_with_a_gap_in_the_audit_is_not_made(
    client: httpx.AsyncClient, application: FastAPI, settings: Settings
) -> None:
    await make_project(client)
    await manager_of(application).async_execute_command("DROP TRIGGER IF EXISTS audit_no_update")
    for trigger in manager_of(application).execute_query(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'"
    ):
        await manager_of(application).async_execute_command(f"DROP TRIGGER {trigger['name']}")
    await manager_of(application).async_execute_command(
        "UPDATE audit_entries SET actor = 'somebody else' WHERE id = 2"
    )
    problem(await client.post(BACKUPS), "internal")
    assert list((settings.data_dir / "backups").iterdir()) == []


async def test_every_acknowledged_write_is_in_each_backup_and_nothing_half(
    client: httpx.AsyncClient, settings: Settings, tmp_path: Path
) -> None:
    acknowledged: set[str] = set()
    enough = asyncio.Event()

    async def write(worker: int) -> None:
        number = 0
        while not enough.is_set():
            repository = f"r-{worker}-{number}"
            await make_project(
                client,
                github_repo=repository,
                settings={"planning_statement": "p" * 200},
                secrets=[{"key": "A", "value": "v"}, {"key": "B", "value": "w"}],
            )
            acknowledged.add(repository)
            number += 1

    writers = [asyncio.create_task(write(worker)) for worker in range(64)]
    backups = []
    for _ in range(4):
        so_far = len(acknowledged)
        while len(acknowledged) < so_far + 64:
            await asyncio.sleep(0)
        promised = set(acknowledged)
        backups.append((promised, await _backup(client)))
    enough.set()
    await asyncio.gather(*writers)
    assert len(acknowledged) > len(backups[-1][0])
    for number, (promised, made) in enumerate(backups):
        _check(settings, tmp_path / f"restored-{number}", made, promised)


def _check(settings: Settings, directory: Path, made: dict[str, Any], promised: set[str]) -> None:
    from database.connection_manager import DatabaseManager

    keyring = find_keyring(settings)
    assert keyring is not None
    source = settings.data_dir / "backups" / made["name"]
    found = restore_backup(source, DataDirectory(directory), keyring)
    assert found.rows == made["verified"]["rows"]
    manager = DatabaseManager(directory / "strongroom.db")
    projects = manager.execute_query(
        "SELECT p.github_repo,"
        " (SELECT count(*) FROM project_settings AS s WHERE s.project_id = p.id) AS settings,"
        " (SELECT count(*) FROM project_secrets AS s WHERE s.project_id = p.id) AS secrets"
        " FROM projects AS p"
    )
    manager.sync_pool.close()
    assert promised <= {project["github_repo"] for project in projects}
    assert {(project["settings"], project["secrets"]) for project in projects} == {(1, 2)}
