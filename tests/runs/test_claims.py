"""Workers claim pending runs: one worker per run, old runs first, projects in turn."""

from typing import Any

import pytest

from backend.schemas.runs import RunClaim
from backend.services.principal import Principal, acting_as
from tests.support.api import Api, codes
from tests.support.clocks import SetClock


async def claimed_ids(api: Api, count: int, **fields: Any) -> list[int]:
    """The ids of the next runs that a worker claims."""
    return [(await api.claim(**fields))["id"] for _ in range(count)]


async def test_a_claim_starts_the_run_and_leases_it(api: Api, clock: SetClock) -> None:
    run = await api.new_run()
    clock.advance(5)
    claimed = await api.claim(worker="agent-7", lease_seconds=90)
    token = claimed.pop("lease_token")
    assert claimed == {
        **run,
        "status": "running",
        "started_at": clock.text(),
        "updated_at": clock.text(),
        "version": 2,
        "lease_expires_at": clock.text(90),
    }
    assert len(token) >= 40
    # Only the claim shows the lease, not the run.
    del claimed["lease_expires_at"]
    assert await api.run(run["id"]) == claimed


async def test_a_lease_lasts_a_minute_unless_told_otherwise(api: Api, clock: SetClock) -> None:
    for _ in range(3):
        await api.new_run()
    assert (await api.claim())["lease_expires_at"] == clock.text(60)
    assert (await api.claim(lease_seconds=1))["lease_expires_at"] == clock.text(1)
    assert (await api.claim(lease_seconds=3600))["lease_expires_at"] == clock.text(3600)


async def test_a_token_is_stored_as_its_hash_only(api: Api) -> None:
    await api.new_run()
    token = (await api.claim(worker="agent-7"))["lease_token"]
    row = await api.service.db_manager.async_pool.fetch_one("SELECT * FROM agent_runs")
    assert row is not None
    assert row["lease_worker"] == "agent-7"
    assert token not in str(tuple(row))


async def test_the_oldest_pending_run_comes_first(api: Api) -> None:
    for _ in range(4):
        await api.new_run()
    await api.step(1, "running")
    await api.step(2, "cancelled")
    assert await claimed_ids(api, 2) == [3, 4]
    await api.claim_nothing()


async def test_projects_take_turns(api: Api) -> None:
    second, third = await api.new_project("second"), await api.new_project("third")
    busy = [(await api.new_run(1))["id"] for _ in range(4)]
    few = [(await api.new_run(second))["id"] for _ in range(2)]
    assert await claimed_ids(api, 3) == [busy[0], few[0], busy[1]]
    # This project was never served, so it comes before all others.
    late = [(await api.new_run(third))["id"] for _ in range(2)]
    assert await claimed_ids(api, 5) == [late[0], few[1], busy[2], late[1], busy[3]]
    await api.claim_nothing()


async def test_of_projects_never_served_the_one_with_the_oldest_run_comes_first(api: Api) -> None:
    second, third = await api.new_project("second"), await api.new_project("third")
    runs = [(await api.new_run(project))["id"] for project in (third, 1, second)]
    assert await claimed_ids(api, 3) == runs


async def test_the_oldest_run_is_looked_up_again_when_runs_were_cancelled(api: Api) -> None:
    second = await api.new_project("second")
    first = [(await api.new_run(1))["id"] for _ in range(2)]
    other = (await api.new_run(second))["id"]
    youngest = (await api.new_run(1))["id"]
    for run_id in first:
        await api.post(f"/api/agent-runs/{run_id}/cancel")
    assert await claimed_ids(api, 2) == [other, youngest]


async def test_a_project_without_pending_runs_leaves_the_queue(api: Api) -> None:
    await api.new_run()
    await api.post("/api/agent-runs/1/cancel")
    await api.claim_nothing()
    row = await api.service.db_manager.async_pool.fetch_one("SELECT * FROM run_queues")
    assert row is not None
    assert row["next_run_id"] is None
    await api.new_run()
    assert (await api.claim())["id"] == 2


async def test_a_worker_may_keep_to_some_projects(api: Api) -> None:
    second, third = await api.new_project("second"), await api.new_project("third")
    runs = {p: (await api.new_run(p))["id"] for p in (1, second, third)}
    await api.claim_nothing(project_ids=[99])
    assert (await api.claim(project_ids=[third, third, 99]))["id"] == runs[third]
    await api.claim_nothing(project_ids=[third])
    assert (await api.claim(project_ids=[second, third]))["id"] == runs[second]
    assert (await api.claim(project_ids=None))["id"] == runs[1]


async def test_runs_of_a_deleted_project_are_not_started(api: Api) -> None:
    await api.new_run()
    await api.call("DELETE", "/api/projects/1", status=204)
    await api.claim_nothing()
    await api.post("/api/projects/1/restore")
    assert (await api.claim())["id"] == 1


@pytest.mark.shared
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"worker": ""}, ("/worker", "string_too_short")),
        ({"worker": " \t"}, ("/worker", "label")),
        ({"worker": "x" * 256}, ("/worker", "string_too_long")),
        ({"worker": None}, ("/worker", "string_type")),
        ({"lease_seconds": 0}, ("/lease_seconds", "greater_than_equal")),
        ({"lease_seconds": 3601}, ("/lease_seconds", "less_than_equal")),
        ({"lease_seconds": 1.5}, ("/lease_seconds", "int_type")),
        ({"lease_seconds": None}, ("/lease_seconds", "int_type")),
        ({"count": 0}, ("/count", "greater_than_equal")),
        ({"count": -1}, ("/count", "greater_than_equal")),
        ({"count": 101}, ("/count", "less_than_equal")),
        ({"count": 1.0}, ("/count", "int_type")),
        ({"count": "5"}, ("/count", "int_type")),
        ({"count": True}, ("/count", "int_type")),
        ({"project_ids": []}, ("/project_ids", "too_short")),
        ({"project_ids": [1] * 501}, ("/project_ids", "too_long")),
        ({"project_ids": ["1"]}, ("/project_ids/0", "int_type")),
        ({"project_ids": [2**63]}, ("/project_ids/0", "less_than_equal")),
        ({"project_id": 1}, ("/project_id", "extra_forbidden")),
    ],
)
async def test_a_wrong_claim_is_told_and_takes_nothing(
    api: Api, fields: dict[str, Any], wrong: tuple[str, str]
) -> None:
    await api.new_run()
    problem = await api.post("/api/agent-runs/claim", {"worker": "w", **fields}, 422)
    assert codes(problem) == [wrong]
    assert (await api.run(1))["status"] == "pending"


async def test_a_claim_needs_a_worker(api: Api) -> None:
    assert codes(await api.post("/api/agent-runs/claim", {}, 422)) == [("/worker", "missing")]


async def test_a_bound_principal_claims_within_its_projects(api: Api) -> None:
    second = await api.new_project("second")
    await api.new_run(1)
    mine, other = [(await api.new_run(second))["id"] for _ in range(2)]
    bound = Principal("bound", frozenset({"runs:write"}), 5, frozenset({second}))
    with acting_as(bound):
        assert await api.service.claims.claim(RunClaim(worker="w", project_ids=[1])) == []
        for count, expected in ((None, [mine]), (2, [other]), (2, [])):
            claimed = await api.service.claims.claim(RunClaim(worker="w", count=count))
            assert [run.id for run in claimed] == expected
    with acting_as(Principal("nothing", frozenset({"runs:write"}), 6, frozenset())):
        assert await api.service.claims.claim(RunClaim(worker="w", count=100)) == []
    assert (await api.run(1))["status"] == "pending"


async def test_a_claim_is_recorded_and_a_heartbeat_is_not(api: Api) -> None:
    await api.new_run()
    claimed = await api.claim()
    before = await api.actions()
    assert before[-1] == ("anonymous", "agent_run.claimed", "agent_runs/1")
    await api.heartbeat(1, claimed["lease_token"])
    await api.claim_nothing()
    assert await api.actions() == before
