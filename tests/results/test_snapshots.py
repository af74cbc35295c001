"""Grainchain snapshots and their life cycle."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.services.runs.snapshot_states import TRANSITIONS
from models import SnapshotStatus
from tests.results.support import Json, actions, make_run
from tests.support.http import TIME, places, problem, walk

PAGE = Path(__file__).parents[2] / "docs" / "test-results.md"
ALL = list(SnapshotStatus)


async def make(client: httpx.AsyncClient, run_id: int, **fields: Any) -> Json:
    """A new snapshot of the run."""
    body = {"snapshot_id": "snap-1", **fields}
    response = await client.post(f"/api/agent-runs/{run_id}/snapshots", json=body)
    assert response.status_code == 201, response.text
    snapshot: Json = response.json()
    assert response.headers["location"] == f"/api/snapshots/{snapshot['id']}"
    return snapshot


async def bring_to(client: httpx.AsyncClient, run_id: int, status: SnapshotStatus) -> Json:
    """A snapshot with this status."""
    if status is not SnapshotStatus.DESTROYED:
        return await make(client, run_id, status=status.value)
    made = await make(client, run_id)
    answer = await client.patch(f"/api/snapshots/{made['id']}", json={"status": "destroyed"})
    snapshot: Json = answer.json()
    return snapshot


@pytest.mark.shared
async def test_a_snapshot_is_made_as_it_was_given(client: httpx.AsyncClient, run_id: int) -> None:
    config = {"image": "python:3.12", "env": {"A": "1"}, "cpus": 2.5}
    made = await make(client, run_id, config=config)
    assert TIME.fullmatch(made["created_at"])
    assert made == {
        "id": made["id"],
        "agent_run_id": run_id,
        "snapshot_id": "snap-1",
        "status": "creating",
        "config": config,
        "validation_results": None,
        "error_message": None,
        "destroyed_at": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "version": 1,
    }
    assert (await client.get(f"/api/snapshots/{made['id']}")).json() == made
    assert (await make(client, run_id, snapshot_id="2"))["config"] == {}


@pytest.mark.shared
async def test_a_run_has_each_snapshot_once(client: httpx.AsyncClient, run_id: int) -> None:
    made = await make(client, run_id)
    path = f"/api/agent-runs/{run_id}/snapshots"
    answer = await client.post(path, json={"snapshot_id": "snap-1"})
    assert problem(answer, "snapshot_exists")["existing_id"] == made["id"]
    other = await make_run(client)
    assert (await make(client, other["id"]))["id"] != made["id"]


@pytest.mark.shared
@pytest.mark.parametrize("current", ALL)
@pytest.mark.parametrize("target", ALL)
async def test_every_step_is_taken_or_refused_as_the_table_says(
    client: httpx.AsyncClient, run_id: int, current: SnapshotStatus, target: SnapshotStatus
) -> None:
    before = await bring_to(client, run_id, current)
    path = f"/api/snapshots/{before['id']}"
    answer = await client.patch(path, json={"status": target.value, "error_message": "why"})
    if target is current:
        assert answer.json()["status"] == current
        assert answer.json()["destroyed_at"] == before["destroyed_at"]
    elif target in TRANSITIONS[current]:
        after = answer.json()
        assert (after["status"], after["version"]) == (target, before["version"] + 1)
        destroyed = target is SnapshotStatus.DESTROYED
        assert after["destroyed_at"] == (after["updated_at"] if destroyed else None)
    else:
        document = problem(answer, "invalid_transition")
        assert document["current"] == current
        assert document["allowed"] == [status.value for status in TRANSITIONS[current]]
        # The refused request changes nothing.
        assert (await client.get(path)).json() == before


def test_the_table_in_the_documentation_is_the_codes() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Snapshots\n")[2]
    table = section.partition("| from | to |")[2].partition("\n\n")[0]
    said: dict[str, list[str]] = {}
    for row in table.splitlines()[2:]:
        _, sources, targets, _ = row.split("|")
        for source in re.findall(r"`(\w+)`", sources):
            said[source] = re.findall(r"`(\w+)`", targets)
    assert said == {
        status.value: [target.value for target in targets]
        for status, targets in TRANSITIONS.items()
    }


def test_destroyed_is_final_and_everything_can_be_destroyed() -> None:
    assert TRANSITIONS.keys() == set(SnapshotStatus)
    for status, targets in TRANSITIONS.items():
        assert (SnapshotStatus.DESTROYED in targets) == (status is not SnapshotStatus.DESTROYED)


@pytest.mark.shared
async def test_of_two_steps_that_race_one_wins(client: httpx.AsyncClient, run_id: int) -> None:
    made = await make(client, run_id, status="running")
    path = f"/api/snapshots/{made['id']}"
    steps = [{"status": status} for status in ("completed", "failed")] * 32
    answers = await asyncio.gather(*(client.patch(path, json=step) for step in steps))
    winner = (await client.get(path)).json()
    assert winner["version"] == 2
    # A request for the current status is not refused.
    assert Counter(answer.status_code for answer in answers) == {200: 32, 409: 32}
    for step, answer in zip(steps, answers, strict=True):
        assert (answer.status_code == 200) == (step["status"] == winner["status"])


@pytest.mark.shared
async def test_the_given_fields_change_and_the_others_stay(
    client: httpx.AsyncClient, run_id: int
) -> None:
    made = await make(client, run_id, config={"a": 1})
    path = f"/api/snapshots/{made['id']}"
    results = {"passed": True, "checks": [1, 2.5, None]}
    changed = (
        await client.patch(path, json={"validation_results": results, "error_message": "x"})
    ).json()
    assert changed == {
        **made,
        "validation_results": results,
        "error_message": "x",
        "updated_at": changed["updated_at"],
        "version": 2,
    }
    assert changed["updated_at"] > made["updated_at"]
    cleared = (await client.patch(path, json={"validation_results": None, "config": {}})).json()
    assert (cleared["validation_results"], cleared["config"]) == (None, {})
    assert cleared["error_message"] == "x"
    # An answer that was read can be sent back, and changes nothing.
    assert (await client.patch(path, json=cleared)).json() == cleared
    assert (await client.patch(path, json={})).json() == cleared


@pytest.mark.shared
async def test_a_destroyed_snapshot_keeps_its_time(client: httpx.AsyncClient, run_id: int) -> None:
    destroyed = await bring_to(client, run_id, SnapshotStatus.DESTROYED)
    path = f"/api/snapshots/{destroyed['id']}"
    changes = {"status": "destroyed", "error_message": "late news"}
    changed = (await client.patch(path, json=changes)).json()
    assert changed["destroyed_at"] == destroyed["destroyed_at"]
    assert changed["error_message"] == "late news"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"snapshot_id": ""}, "/snapshot_id"),
        ({"snapshot_id": "x" * 256}, "/snapshot_id"),
        ({"snapshot_id": "a\0"}, "/snapshot_id"),
        ({"snapshot_id": 1}, "/snapshot_id"),
        ({"status": "destroyed"}, "/status"),
        ({"status": "gone"}, "/status"),
        ({"status": None}, "/status"),
        ({"config": None}, "/config"),
        ({"config": []}, "/config"),
        ({"config": {"a": "x" * 65_536}}, "/config"),
        ({"validation_results": "{}"}, "/validation_results"),
        ({"error_message": "x" * 1_000_001}, "/error_message"),
        ({"lease_token": 1}, "/lease_token"),
        ({"name": "x"}, "/name"),
    ],
)
async def test_a_wrong_value_is_told_by_its_place(
    client: httpx.AsyncClient, run_id: int, change: dict[str, Any], place: str
) -> None:
    made = await make(client, run_id)
    path = f"/api/agent-runs/{run_id}/snapshots"
    assert places(await client.post(path, json={"snapshot_id": "2", **change})) == [place]
    if "snapshot_id" not in change and change != {"status": "destroyed"}:
        answer = await client.patch(f"/api/snapshots/{made['id']}", json=change)
        assert places(answer) == [place]
    assert await walk(client, path, "snapshots") == [made]


@pytest.mark.shared
async def test_a_list_is_paged_newest_first(client: httpx.AsyncClient, run_id: int) -> None:
    made = [await make(client, run_id, snapshot_id=f"s{n}") for n in range(5)]
    other = (await make_run(client))["id"]
    await make(client, other)
    path = f"/api/agent-runs/{run_id}/snapshots"
    for limit in (1, 2, 5, 500):
        assert await walk(client, path, "snapshots", limit=limit) == made[::-1]
    cursor = (await client.get(path, params={"limit": 2})).json()["next_cursor"]
    wrong = f"/api/agent-runs/{other}/snapshots"
    problem(await client.get(wrong, params={"cursor": cursor}), "bad_cursor")


async def test_what_is_not_there_is_told(client: httpx.AsyncClient) -> None:
    problem(await client.get("/api/agent-runs/9/snapshots"), "agent_run_not_found")
    body = {"snapshot_id": "s"}
    problem(await client.post("/api/agent-runs/9/snapshots", json=body), "agent_run_not_found")
    problem(await client.get("/api/snapshots/9"), "snapshot_not_found")
    problem(await client.patch("/api/snapshots/9", json={}), "snapshot_not_found")


async def test_a_worker_that_lost_its_run_can_write_no_more(client: httpx.AsyncClient) -> None:
    run = await make_run(client)
    token = (await client.post("/api/agent-runs/claim", json={"worker": "w"})).json()["lease_token"]
    made = await make(client, run["id"], lease_token=token)
    path = f"/api/snapshots/{made['id']}"
    step = {"status": "ready", "lease_token": "another"}
    problem(await client.patch(path, json=step), "lease_lost")
    body = {"snapshot_id": "2", "lease_token": "another"}
    problem(await client.post(f"/api/agent-runs/{run['id']}/snapshots", json=body), "lease_lost")
    answer = await client.patch(path, json={**step, "lease_token": token})
    assert answer.json()["status"] == "ready"


async def test_every_change_is_in_the_audit_by_its_field_names(client: httpx.AsyncClient) -> None:
    run = await make_run(client)
    made = await make(client, run["id"], config={"a": 1})
    path = f"/api/snapshots/{made['id']}"
    await client.patch(path, json={"status": "running"})
    await client.patch(path, json={"status": "ready", "config": {"a": 1}})
    await client.patch(path, json={"status": "ready"})
    common = {"target": f"snapshots/{made['id']}", "project_id": run["project_id"]}
    assert await actions(client, "snapshot") == [
        {**common, "action": "snapshot.created", "fields": ["config", "snapshot_id"]},
        {**common, "action": "snapshot.updated", "fields": ["status"]},
    ]
