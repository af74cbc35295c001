"""Two processes with 32 clients each want the same things at the same time, and each thing is given
once."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.settings import Settings
from tests.runs.contender import main
from tests.support.clients import token_of_first_start
from tests.support.forked import Forked
from tests.support.servers import RunningServer

ROOT = Path(__file__).parent.parent.parent
PROCESSES, TASKS = 2, 32


@pytest.fixture
def admin(server: RunningServer, settings: Settings) -> Iterator[httpx.Client]:
    """A client of the server with the admin token, and the projects 1 and 2."""
    with server.client(token_of_first_start(settings)) as client:
        for name in ("first", "second"):
            body = {"name": name, "github_owner": "acme", "github_repo": name}
            assert client.post("/api/projects", json=body).status_code == 201
        yield client


def contend(admin: httpx.Client, task: str, tasks: int = TASKS) -> list[Any]:
    """The results of all tasks of all processes in one list."""
    token = admin.headers["Authorization"].removeprefix("Bearer ")
    with ExitStack() as stack:
        read, write = os.pipe()
        started = stack.enter_context(os.fdopen(read, "rb"))
        start = stack.enter_context(os.fdopen(write, "wb"))
        contenders = []
        for process in range(PROCESSES):
            arguments = [str(admin.base_url), token, task, str(process * tasks), str(tasks)]
            contender = Forked(arguments, cwd=ROOT, env=os.environ, stdin=started, function=main)
            contenders.append(stack.enter_context(contender))
            stack.callback(contender.kill)
        for contender in contenders:
            assert contender.stdout is not None
            assert contender.stdout.readline() == "ready\n"
        start.close()
        outputs = [contender.communicate(timeout=120)[0] for contender in contenders]
        assert [contender.returncode for contender in contenders] == [0] * PROCESSES
    return [item for output in outputs for item in json.loads(output)]


def make_runs(admin: httpx.Client, count: int) -> None:
    for number in range(count):
        body = {"project_id": 1 + number % 2, "target_text": "x"}
        assert admin.post("/api/agent-runs", json=body).status_code == 201


@pytest.mark.parametrize("task", ["claim", "claim_some"])
def test_each_run_is_claimed_by_one_worker(admin: httpx.Client, task: str) -> None:
    make_runs(admin, 100)
    got = contend(admin, task)
    assert sorted(run_id for run_id, _ in got) == list(range(1, 101))
    assert len({token for _, token in got}) == 100
    for run_id, token in got:
        beat = admin.post(f"/api/agent-runs/{run_id}/heartbeat", json={"lease_token": token})
        assert beat.status_code == 200


def test_numbers_of_runs_are_dense(admin: httpx.Client) -> None:
    got = contend(admin, "create")
    for project_id in (1, 2):
        numbers = sorted(number for project, number in got if project == project_id)
        assert numbers == list(range(1, PROCESSES * TASKS * 2 + 1))


@pytest.mark.parametrize("tasks", [8, pytest.param(TASKS, marks=pytest.mark.long_form)])
def test_each_run_is_ended_once(admin: httpx.Client, tasks: int) -> None:
    make_runs(admin, 8)
    for run_id in range(1, 9):
        to = f"/api/agent-runs/{run_id}/transitions"
        assert admin.post(to, json={"to": "running"}).status_code == 200
    got = contend(admin, "finish", tasks)
    assert Counter(run_id for run_id, _, _ in got) == dict.fromkeys(range(1, 9), 1)
    for run_id, status, result in got:
        run = admin.get(f"/api/agent-runs/{run_id}").json()
        assert (run["status"], run["result"], run["version"]) == (status, result, 3)
