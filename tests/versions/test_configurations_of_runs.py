"""A run reads the configuration that it started with, whatever becomes of it later."""

from typing import Any

from backend.services.base import KeptVersions
from backend.services.operations.pruner import Pruner
from tests.retention.data import limits
from tests.support.api import Api
from tests.support.clocks import SetClock

CONFIGURATION = "/api/projects/1/configuration"


async def configure(api: Api, text: str) -> Any:
    """The configuration with another text."""
    return await api.patch(CONFIGURATION, {"setup_commands": text})


async def of_run(api: Api, run_id: int = 1) -> Any:
    """The configuration of a run."""
    return await api.get(f"/api/agent-runs/{run_id}/configuration")


async def test_before_its_start_it_has_the_configuration_of_its_creation(api: Api) -> None:
    created_with = await configure(api, "of the creation")
    await api.new_run()
    await configure(api, "later")
    assert await of_run(api) == created_with
    # It never starts.
    await api.step(1, "cancelled")
    await configure(api, "later still")
    assert await of_run(api) == created_with
    assert (await api.run(1))["settings_version"] == created_with["version"]


async def test_a_claim_and_a_transition_start_it_with_the_present_one(api: Api) -> None:
    for start in ("claim", "transition"):
        run = await api.new_run()
        started_with = await configure(api, f"of the {start}")
        if start == "claim":
            assert (await api.claim())["id"] == run["id"]
        else:
            await api.step(run["id"], "running")
        await configure(api, "later")
        assert await of_run(api, run["id"]) == started_with
        # A pause is no end, and going on is no start.
        await api.step(run["id"], "paused")
        await api.step(run["id"], "running")
        assert await of_run(api, run["id"]) == started_with
        await api.step(run["id"], "completed")
        assert await of_run(api, run["id"]) == started_with


async def test_a_run_that_is_taken_back_starts_again_with_the_present_one(
    api: Api, clock: SetClock
) -> None:
    await api.new_run()
    first = await configure(api, "of the first start")
    await api.claim(lease_seconds=10)
    second = await configure(api, "of the second start")
    clock.advance(11)
    assert await api.service.claims.expire_leases() == 1
    assert (await api.run(1))["started_at"] is None
    assert await of_run(api) == first
    await api.claim()
    assert await of_run(api) == second


async def test_a_rollback_changes_no_run(api: Api) -> None:
    old = await configure(api, "old")
    await api.new_run()
    await api.step(1, "running")
    await configure(api, "new")
    rolled_back = await api.post(f"{CONFIGURATION}/rollback", {"version": old["version"]})
    assert await of_run(api) == old
    await api.new_run()
    assert await of_run(api, 2) == rolled_back
    assert rolled_back["version"] > old["version"]
    assert rolled_back["setup_commands"] == "old"


async def test_it_is_kept_as_long_as_a_run_has_it(api: Api) -> None:
    api.service.kit.kept_versions = KeptVersions(configurations=1)
    started_with = await configure(api, "of the start")
    await api.new_run()
    await api.step(1, "running")
    for number in range(5):
        await configure(api, str(number))
    kept = limits(configuration_versions=(None, 1))
    removed = await Pruner(api.service.retention, kept, considerate=False).start()
    assert removed.configuration_versions == 5
    assert await of_run(api) == started_with
    version = f"{CONFIGURATION}/versions/{started_with['version']}"
    assert await api.get(version) == started_with
    await api.call("DELETE", "/api/projects/1", status=204)
    assert await of_run(api) == started_with
    await api.call("DELETE", "/api/projects/1?purge=true", status=204)
    gone = await api.get("/api/agent-runs/1/configuration", 404)
    assert gone["code"] == "agent_run_not_found"


async def test_its_tag_is_the_version_and_stays(api: Api) -> None:
    version = (await configure(api, "of the start"))["version"]
    await api.new_run()
    await api.step(1, "running")
    await configure(api, "later")
    path, tag = "/api/agent-runs/1/configuration", f'"v{version}"'
    assert (await api.client.get(path)).headers["ETag"] == tag
    assert (await api.client.get(path, headers={"If-None-Match": tag})).status_code == 304


async def test_a_run_from_before_versions_were_noted_has_none(api: Api) -> None:
    await api.new_run()
    await api.service.db_manager.async_pool.execute("UPDATE agent_runs SET settings_version = NULL")
    assert (await api.run(1))["settings_version"] is None
    missing = await api.get("/api/agent-runs/1/configuration", 404)
    assert missing["code"] == "version_not_found"
