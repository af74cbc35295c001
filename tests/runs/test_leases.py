"""A lease holds while its worker lives, and a late write has no effect."""

from pathlib import Path
from typing import Any

import pytest

from backend.services.runs.claims import LEASE_RAN_OUT
from tests.support.api import Api, Json, open_api
from tests.support.clocks import SetClock


async def claim_one(api: Api, **fields: Any) -> tuple[int, str]:
    """The id and lease token of a claimed run, which is created if none is pending."""
    if not (await api.get("/api/agent-runs?status=pending"))["agent_runs"]:
        await api.new_run()
    claimed = await api.claim(**fields)
    return claimed["id"], claimed["lease_token"]


async def test_a_heartbeat_extends_the_lease_and_changes_nothing_else(
    api: Api, clock: SetClock
) -> None:
    id, token = await claim_one(api, lease_seconds=30)
    run = await api.run(id)
    clock.advance(20)
    answer = await api.heartbeat(id, token)
    assert answer == {**run, "lease_expires_at": clock.text(30)}
    clock.advance(29)
    assert await api.service.claims.expire_leases() == 0
    assert await api.run(id) == run
    clock.advance(1)
    assert await api.service.claims.expire_leases() == 1
    assert (await api.run(id))["status"] == "pending"


async def test_a_heartbeat_after_the_time_counts_while_the_run_was_not_given_away(
    api: Api, clock: SetClock
) -> None:
    id, token = await claim_one(api, lease_seconds=30)
    clock.advance(31)
    assert (await api.heartbeat(id, token))["lease_expires_at"] == clock.text(30)
    assert await api.service.claims.expire_leases() == 0
    assert (await api.run(id))["status"] == "running"


async def test_a_run_given_to_another_is_lost_to_the_first(api: Api, clock: SetClock) -> None:
    id, old = await claim_one(api, lease_seconds=30)
    clock.advance(30)
    # The claim itself takes the expired run back: nothing ran in the background.
    again = await api.claim(worker="second")
    assert again["id"] == id
    assert again["lease_token"] != old
    problem = await api.heartbeat(id, old, 409)
    assert problem["code"] == "lease_lost"
    await api.heartbeat(id, again["lease_token"])


async def test_a_lease_that_runs_out_sends_the_run_back_once_and_then_fails_it(
    api: Api, clock: SetClock
) -> None:
    id, _ = await claim_one(api, lease_seconds=30)
    clock.advance(30)
    assert await api.service.claims.expire_leases() == 1
    back = await api.run(id)
    assert (back["status"], back["started_at"], back["completed_at"]) == ("pending", None, None)
    assert (back["version"], back["updated_at"]) == (3, clock.text())
    assert back["error_message"] is None
    clock.advance(5)
    again, _ = await claim_one(api, lease_seconds=30)
    assert again == id
    assert (await api.run(id))["started_at"] == clock.text()
    clock.advance(30)
    assert await api.service.claims.expire_leases() == 1
    failed = await api.run(id)
    assert (failed["status"], failed["completed_at"]) == ("failed", clock.text())
    assert failed["error_message"] == LEASE_RAN_OUT
    assert await api.service.claims.expire_leases() == 0
    await api.claim_nothing()
    assert [entry for entry in await api.actions() if "run" in entry[1]][1:] == [
        ("anonymous", "agent_run.claimed", "agent_runs/1"),
        ("system", "agent_run.requeued", "agent_runs/1"),
        ("anonymous", "agent_run.claimed", "agent_runs/1"),
        ("system", "agent_run.failed", "agent_runs/1"),
    ]


async def test_a_claim_is_not_the_actor_of_expired_leases(api: Api, clock: SetClock) -> None:
    await claim_one(api, lease_seconds=30)
    clock.advance(30)
    await api.claim()
    assert (await api.actions())[-2:] == [
        ("system", "agent_run.requeued", "agent_runs/1"),
        ("anonymous", "agent_run.claimed", "agent_runs/1"),
    ]


async def test_a_run_that_comes_back_has_its_old_place(api: Api, clock: SetClock) -> None:
    id, _ = await claim_one(api, lease_seconds=30)
    younger = await api.new_run()
    clock.advance(30)
    assert (await api.claim())["id"] == id
    assert (await api.claim())["id"] == younger["id"]


async def test_many_leases_run_out_at_once(api: Api, clock: SetClock) -> None:
    for _ in range(230):
        await api.new_run()
        await api.claim(lease_seconds=30)
    clock.advance(30)
    assert await api.service.claims.expire_leases() == 230
    assert (await api.get("/api/agent-runs?status=running"))["agent_runs"] == []
    assert (await api.claim())["id"] == 1


async def test_a_run_without_a_lease_never_runs_out(api: Api, clock: SetClock) -> None:
    await api.new_run()
    await api.step(1, "running")
    clock.advance(10**6)
    assert await api.service.claims.expire_leases() == 0
    await api.claim_nothing()
    assert (await api.heartbeat(1, "x" * 43, 409))["code"] == "lease_lost"


async def test_nothing_runs_out_in_a_pause(api: Api, clock: SetClock) -> None:
    id, token = await claim_one(api, lease_seconds=30)
    await api.step(id, "paused")
    clock.advance(1000)
    assert await api.service.claims.expire_leases() == 0
    assert (await api.heartbeat(id, token))["status"] == "paused"
    clock.advance(1000)
    await api.step(id, "running")
    # The lease starts again with the full duration that its worker requested.
    clock.advance(29)
    assert await api.service.claims.expire_leases() == 0
    clock.advance(1)
    assert await api.service.claims.expire_leases() == 1


async def write(api: Api, id: int, what: str, token: str | None, status: int) -> Json:
    """The answer to a write of this kind under this lease."""
    lease = {} if token is None else {"lease_token": token}
    path = f"/api/agent-runs/{id}"
    made = 201 if status == 200 else status
    match what:
        case "patch":
            answer = await api.patch(path, {"pr_number": 7, **lease}, status)
        case "transition":
            answer = await api.step(id, "completed", status, **lease)
        case "cancel":
            answer = await api.post(f"{path}/cancel", lease, status)
        case _:
            body = {"state": "testing", **lease}
            answer = await api.post(f"{path}/pipeline-states", body, made)
    result: Json = answer
    return result


WRITES = ["patch", "transition", "cancel", "pipeline-states"]


@pytest.mark.parametrize("what", WRITES)
async def test_a_late_write_with_an_old_lease_is_refused(
    api: Api, clock: SetClock, what: str
) -> None:
    id, old = await claim_one(api, lease_seconds=30)
    clock.advance(30)
    _, new = await claim_one(api, lease_seconds=30)
    before = await api.run(id)
    for wrong in (old, "never-given", new + "x", new.swapcase()):
        assert (await write(api, id, what, wrong, 409))["code"] == "lease_lost"
    assert await api.run(id) == before
    history = await api.get(f"/api/agent-runs/{id}/pipeline-states")
    assert history["pipeline_states"] == []
    await write(api, id, what, new, 200)


@pytest.mark.parametrize("what", WRITES)
async def test_a_lease_whose_run_waits_again_writes_nothing(
    api: Api, clock: SetClock, what: str
) -> None:
    id, old = await claim_one(api, lease_seconds=30)
    clock.advance(30)
    await api.service.claims.expire_leases()
    before = await api.run(id)
    assert (await write(api, id, what, old, 409))["code"] == "lease_lost"
    assert await api.run(id) == before


@pytest.mark.shared
@pytest.mark.parametrize("what", WRITES)
async def test_without_a_lease_token_a_leased_run_can_be_written(api: Api, what: str) -> None:
    id, _ = await claim_one(api)
    await write(api, id, what, None, 200)


@pytest.mark.parametrize("what", WRITES)
async def test_a_lease_token_for_a_run_that_has_none_is_refused(api: Api, what: str) -> None:
    await api.new_run()
    await api.step(1, "running")
    assert (await write(api, 1, what, "any", 409))["code"] == "lease_lost"


async def test_a_worker_hands_in_the_rest_after_the_end(api: Api, clock: SetClock) -> None:
    id, token = await claim_one(api, lease_seconds=30)
    await api.step(id, "completed", lease_token=token)
    clock.advance(1000)
    assert await api.service.claims.expire_leases() == 0
    patched = await api.patch(f"/api/agent-runs/{id}", {"pr_number": 7, "lease_token": token})
    assert (patched["status"], patched["pr_number"]) == ("completed", 7)
    await write(api, id, "pipeline-states", token, 200)
    assert (await api.step(id, "failed", 409, lease_token=token))["code"] == "invalid_transition"


@pytest.mark.shared
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_a_heartbeat_tells_the_worker_that_the_run_is_over(api: Api, end: str) -> None:
    id, token = await claim_one(api)
    await api.step(id, end)
    assert (await api.heartbeat(id, token, 409))["code"] == "lease_lost"
    assert (await api.run(id))["status"] == end


@pytest.mark.shared
async def test_a_heartbeat_says_which_lease_it_is_for(api: Api) -> None:
    id, token = await claim_one(api)
    for body in ({}, {"lease_token": ""}, {"lease_token": None}, {"token": token}):
        assert await api.post(f"/api/agent-runs/{id}/heartbeat", body, 422)


async def test_leases_outlive_the_process(database_path: Path, clock: SetClock) -> None:
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        held = await claim_one(api, worker="held", lease_seconds=100)
        gone = await claim_one(api, worker="gone", lease_seconds=30)
    async with open_api(database_path, clock) as api:
        clock.advance(60)
        assert await api.service.claims.expire_leases() == 1
        assert (await api.run(held[0]))["status"] == "running"
        await api.heartbeat(*held)
        assert (await api.run(gone[0]))["status"] == "pending"
        assert (await api.heartbeat(*gone, 409))["code"] == "lease_lost"
        again = await claim_one(api, worker="second", lease_seconds=30)
        assert again[0] == gone[0]
    async with open_api(database_path, clock) as api:
        clock.advance(30)
        assert (await api.heartbeat(*held))["status"] == "running"
        await api.claim_nothing()
        assert (await api.run(gone[0]))["status"] == "failed"
        assert (await api.heartbeat(*again, 409))["code"] == "lease_lost"


async def test_a_heartbeat_right_after_the_restart_saves_the_run(
    database_path: Path, clock: SetClock
) -> None:
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        id, token = await claim_one(api, lease_seconds=30)
    clock.advance(60)
    async with open_api(database_path, clock) as api:
        await api.heartbeat(id, token)
        assert await api.service.claims.expire_leases() == 0
        await api.step(id, "completed", lease_token=token)
