"""A lease does not end because the service did not run, or could not write."""

import asyncio
import signal
from contextlib import closing
from pathlib import Path

import pytest

from backend.schemas.runs import RunClaim
from database.errors import DatabaseBusy
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.access.test_ended_tokens import until
from tests.support.api import Api, Json, open_api
from tests.support.clocks import SetClock
from tests.support.processes import Serving

LEASE = 60


async def claim_all(api: Api, count: int, **fields: object) -> list[Json]:
    """New runs, each claimed."""
    for _ in range(count):
        await api.new_run()
    return [await api.claim(**{"lease_seconds": LEASE, **fields}) for _ in range(count)]


@pytest.fixture
async def serving(api: Api) -> Api:
    """The API of a running service that has checked the leases once."""
    api.service.claims.presence.begin()
    await api.service.claims.check_leases()
    return api


async def pass_time(api: Api, clock: SetClock, seconds: int) -> None:
    """Let time pass while the service runs."""
    for _ in range(seconds):
        clock.advance(1)
        await api.service.claims.note_presence()


async def status_of(api: Api, id: int) -> str:
    return str((await api.run(id))["status"])


async def test_while_the_service_runs_leases_run_out(serving: Api, clock: SetClock) -> None:
    (run,) = await claim_all(serving, 1)
    await pass_time(serving, clock, LEASE - 1)
    await serving.service.claims.check_leases()
    assert await status_of(serving, run["id"]) == "running"
    await pass_time(serving, clock, 1)
    await serving.service.claims.check_leases()
    assert await status_of(serving, run["id"]) == "pending"


async def test_a_clock_that_is_set_and_set_back_between_two_looks_costs_no_lease(
    serving: Api, clock: SetClock
) -> None:
    (run,) = await claim_all(serving, 1)
    clock.advance(-(10**6))
    await serving.heartbeat(run["id"], run["lease_token"])
    clock.advance(10**6)
    assert await serving.service.claims.claim(RunClaim(worker="another")) == []
    await serving.service.claims.check_leases()
    assert await status_of(serving, run["id"]) == "running"


@pytest.mark.parametrize("away", [2, LEASE, 10**6, -(10**6)], ids=str)
async def test_after_the_process_stood_still_leases_have_their_whole_time(
    serving: Api, clock: SetClock, away: int
) -> None:
    (run,) = await claim_all(serving, 1)
    before = await serving.run(run["id"])
    await pass_time(serving, clock, LEASE - 2)
    clock.advance(away)
    # A claim comes first, and the check of leases second.
    await serving.claim_nothing()
    await serving.service.claims.check_leases()
    await serving.claim_nothing()
    assert await serving.run(run["id"]) == before
    await pass_time(serving, clock, LEASE - 1)
    await serving.service.claims.check_leases()
    assert await status_of(serving, run["id"]) == "running"
    await serving.heartbeat(run["id"], run["lease_token"])
    await pass_time(serving, clock, LEASE)
    await serving.service.claims.check_leases()
    assert await status_of(serving, run["id"]) == "pending"


async def test_a_look_that_an_absence_interrupts_takes_nothing_back(
    serving: Api, clock: SetClock
) -> None:
    (run,) = await claim_all(serving, 1)
    clock.advance(LEASE + 1)
    assert await serving.service.claims.expire_leases() == 0
    await serving.service.claims.check_leases()
    await serving.heartbeat(run["id"], run["lease_token"])


async def test_leases_are_no_shorter_after_the_database_could_not_be_written(
    serving: Api, clock: SetClock
) -> None:
    (run,) = await claim_all(serving, 1)
    await pass_time(serving, clock, LEASE)
    manager = serving.service.db_manager
    queue = manager.async_pool.writer.queue
    queue._unanswered = manager.config.queue_limit
    with pytest.raises(DatabaseBusy):
        await serving.service.claims.check_leases()
    queue._unanswered = 0
    await serving.service.claims.check_leases()
    await serving.heartbeat(run["id"], run["lease_token"])
    assert await status_of(serving, run["id"]) == "running"


async def test_a_heartbeat_that_could_not_be_stored_costs_no_lease(
    serving: Api, clock: SetClock
) -> None:
    (run,) = await claim_all(serving, 1)
    await pass_time(serving, clock, LEASE - 1)
    manager = serving.service.db_manager
    queue = manager.async_pool.writer.queue
    queue._unanswered = manager.config.queue_limit
    body = await serving.heartbeat(run["id"], run["lease_token"], 503)
    assert body["code"] == "database_busy"
    queue._unanswered = 0
    await pass_time(serving, clock, 1)
    # The lease has expired before any check could notice that nothing was stored.
    await serving.claim_nothing()
    await serving.service.claims.check_leases()
    await serving.heartbeat(run["id"], run["lease_token"])
    assert await status_of(serving, run["id"]) == "running"


@pytest.mark.parametrize("look", ["check", "claim"])
async def test_a_look_that_waited_for_the_database_takes_nothing_back(
    serving: Api, clock: SetClock, look: str
) -> None:
    (run,) = await claim_all(serving, 1)
    await pass_time(serving, clock, LEASE)
    pool = serving.service.db_manager.async_pool
    claims = serving.service.claims
    async with pool.transaction():
        waiting = asyncio.create_task(
            claims.check_leases() if look == "check" else serving.claim_nothing()
        )
        await until(lambda: len(pool.writer.queue) == 1)
        await pass_time(serving, clock, 2)
    await waiting
    await claims.check_leases()
    # A heartbeat that waited meanwhile, perhaps for a slot, comes in time.
    await serving.heartbeat(run["id"], run["lease_token"])
    await pass_time(serving, clock, LEASE)
    await claims.check_leases()
    assert await status_of(serving, run["id"]) == "pending"


async def test_a_start_gives_every_lease_its_whole_time(
    database_path: Path, clock: SetClock
) -> None:
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        held = await claim_all(api, 107)
        # These leases have expired already, but no check has noticed it.
        gone = await claim_all(api, 2, lease_seconds=1)
        clock.advance(2)
        paused = held.pop()
        await api.step(paused["id"], "paused")
        ended = held.pop()
        await api.step(ended["id"], "completed")
        before = (await api.get("/api/agent-runs?limit=500"))["agent_runs"]
        actions = await api.actions()
    clock.advance(10 * LEASE)
    async with open_api(database_path, clock) as api:
        api.service.claims.presence.begin()
        # Before the first check no lease can expire.
        await api.claim_nothing()
        await api.service.claims.check_leases()
        await api.claim_nothing()
        for run in (*gone, *held, paused):
            answer = await api.heartbeat(run["id"], run["lease_token"])
            assert answer["version"] == next(r for r in before if r["id"] == run["id"])["version"]
        assert (await api.heartbeat(ended["id"], ended["lease_token"], 409))["code"] == "lease_lost"
        assert (await api.get("/api/agent-runs?limit=500"))["agent_runs"] == before
        assert await api.actions() == actions
        rows = await api.service.db_manager.async_pool.fetch_all(
            "SELECT lease_expiries FROM agent_runs"
        )
        assert {row["lease_expiries"] for row in rows} == {0}


async def test_a_lease_whose_length_was_not_stored_has_the_usual_time(
    api: Api, clock: SetClock
) -> None:
    (run,) = await claim_all(api, 1)
    await api.service.db_manager.async_pool.execute("UPDATE agent_runs SET lease_seconds = NULL")
    clock.advance(1000)
    assert await api.service.claims.renew_leases() == 1
    answer = await api.heartbeat(run["id"], run["lease_token"])
    assert answer["lease_expires_at"] == clock.text(60)


def test_an_outage_longer_than_a_lease_costs_no_worker_its_run(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Serving(directory) as serving, serving.client() as client:
        body = {"name": "p", "github_owner": "acme", "github_repo": "p"}
        assert client.post("/api/projects", json=body).status_code == 201
        claimed = []
        for number in range(10):
            run = {"project_id": 1, "target_text": "x"}
            assert client.post("/api/agent-runs", json=run).status_code == 201
            claim = {"worker": f"worker-{number}", "lease_seconds": 3600}
            claimed.append(client.post("/api/agent-runs/claim", json=claim).json())
        serving.end(signal.SIGKILL)
    # As after an outage of several years.
    with closing(open_connection(ConnectionConfig(directory / "strongroom.db"))) as raw:
        raw.execute("UPDATE agent_runs SET lease_expires_at = '2020-01-01T00:00:00.000000Z'")
        raw.commit()
    with Serving(directory) as serving, serving.client() as client:
        assert client.post("/api/agent-runs/claim", json={"worker": "w"}).status_code == 204
        for run in claimed:
            beat = {"lease_token": run["lease_token"]}
            answer = client.post(f"/api/agent-runs/{run['id']}/heartbeat", json=beat)
            assert answer.status_code == 200, answer.text
        assert serving.end() == 0
