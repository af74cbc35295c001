"""A rotation whose process is killed, and a server that continues it."""

import asyncio
import os
import random
import signal
from pathlib import Path

import httpx
import pytest

from backend.services.audit.verification import verify_audit
from database.sqlite.integrity import file_problem, reference_problem
from tests.keys.rotating import rotate
from tests.keys.support import NEW, OLD, fill, key_rows, read_everything, started
from tests.support.forked import Forked
from tests.support.http import JSON
from tests.support.processes import PATIENCE, Serving, environment, run


def kill_after(directory: Path, steps: int) -> bool:
    """Run a rotation and kill its process at its `steps`-th step. Returns whether it had ended
    before."""
    arguments: list[str | Path] = [directory, NEW, OLD]
    with Forked(arguments, cwd=directory, env=environment(), function=rotate) as process:
        assert process.stdout is not None
        for _ in range(steps):
            if not process.stdout.readline():
                return process.wait(PATIENCE) == 0
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
        return process.wait(PATIENCE) == 0


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.long_form)])
async def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, kills: int) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service, projects=60, secrets=10)
    before = await read_everything(runtime.service)
    old_ids = {row["id"] for row in key_rows(runtime)}
    await runtime.stop()
    chance = random.Random(7)  # noqa: S311 - when to kill is no secret
    killed = 0
    for _ in range(kills):
        if kill_after(tmp_path, chance.randint(1, 6)):
            break
        killed += 1
        runtime = await started(tmp_path, NEW, OLD)
        assert await read_everything(runtime.service) == before
        assert verify_audit(runtime.manager, runtime.service.audit.chain, ()) is None
        with runtime.manager.sync_pool.connection() as connection:
            assert file_problem(connection) is None
            assert reference_problem(connection) is None
        await runtime.stop()
    assert killed >= 2
    while not kill_after(tmp_path, 10_000):
        pass
    runtime = await started(tmp_path, NEW)
    assert await read_everything(runtime.service) == before
    rows = key_rows(runtime)
    assert len(rows) == 60
    assert not old_ids & {row["id"] for row in rows}
    status = await runtime.service.rotation.status()
    assert status.rotation is not None
    assert (status.rotation.total, status.rotation.done) == (61, 61)
    await runtime.stop()


def test_a_server_goes_on_after_a_kill(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Serving(directory, env=environment(MASTER_KEYS=OLD)) as serving:
        with serving.client() as client:
            body = {"name": "a", "github_owner": "o", "github_repo": "r"}
            client.post("/api/projects", json=body).raise_for_status()
            for number in range(30):
                secrets = [{"key": f"K{number}_{n}", "value": "x" * 20_000} for n in range(20)]
                client.put("/api/projects/1/secrets", json={"secrets": secrets}).raise_for_status()
        assert serving.end() == 0
    both = environment(MASTER_KEYS=f"{NEW},{OLD}")
    with Serving(directory, env=both) as serving, serving.client() as client:
        begun = client.post("/api/keys/rotate", json={"reencrypt": True})
        assert begun.status_code in (200, 202)
        serving.end(signal.SIGKILL)
    with Serving(directory, env=both) as serving:
        with serving.client() as client:
            while (rotation := client.get("/api/keys").json()["rotation"])["status"] == "running":
                assert client.get("/ready").status_code == 200
            assert (rotation["total"], rotation["done"], rotation["failed"]) == (2, 2, 0)
        assert serving.end() == 0
    with Serving(directory, env=environment(MASTER_KEYS=NEW)) as serving:
        with serving.client() as client:
            answer = client.get("/api/projects/1/secrets/K29_19/value")
            assert answer.json()["value"] == "x" * 20_000
        assert serving.end() == 0


async def test_the_command_rotates_where_no_server_runs(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    runtime = await started(directory, OLD)
    await fill(runtime.service, projects=1)
    before = await read_everything(runtime.service)
    # This process holds the installation's lock, as a server would.
    busy = await asyncio.to_thread(run, "keys", "rotate", "--data-dir", directory, cwd=tmp_path)
    assert busy.status == 1
    assert f"process {os.getpid()} is using" in busy.complaint
    assert "POST /api/keys/rotate" in busy.complaint
    await runtime.stop()

    command = ("keys", "rotate", "--data-dir", directory)
    both, dropped = environment(MASTER_KEYS=f"{NEW},{OLD}"), environment(MASTER_KEYS=NEW)
    outcome = await asyncio.to_thread(run, *command, "--json", cwd=tmp_path, env=both)
    assert outcome.status == 0
    assert (outcome.json["total"], outcome.json["done"], outcome.json["failed"]) == (2, 2, 0)
    outcome = await asyncio.to_thread(run, *command, "--reencrypt", cwd=tmp_path, env=dropped)
    assert (outcome.status, outcome.out) == (0, "2 keys of 2 rotated\n")
    runtime = await started(directory, NEW)
    assert await read_everything(runtime.service) == before
    await runtime.stop()


async def test_over_http_it_answers_when_it_is_over(client: httpx.AsyncClient) -> None:
    body = {"name": "a", "github_owner": "o", "github_repo": "r"}
    body_with_secret = {**body, "secrets": [{"key": "A", "value": "v"}]}
    await client.post("/api/projects", json=body_with_secret)
    assert (await client.get("/api/keys")).json()["rotation"] is None
    for content in (b"", b"{}", b'{"reencrypt": true}'):
        response = await client.post("/api/keys/rotate", content=content, headers=JSON)
        rotation = response.json()
        assert response.status_code == 200
        assert rotation["status"] == "finished"
        assert (rotation["total"], rotation["done"], rotation["failed"]) == (2, 2, 0)
        assert (await client.get("/api/keys")).json()["rotation"] == rotation
    assert (await client.get("/api/projects/1/secrets/A/value")).json()["value"] == "v"
    [key] = (await client.get("/api/keys")).json()["keys"]
    assert key == {
        "id": "test",
        "configured": True,
        "current": True,
        "installation": True,
        "project_keys": 1,
        "secrets": 1,
        "answer_keys": 0,
        "removable": False,
    }
