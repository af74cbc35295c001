"""Everything beyond a limit is removed and nothing else, and the plan predicts it."""

import pytest

from backend.schemas.logs import OwnLogEntry
from backend.schemas.retention import Removed, RetentionLimits, RetentionPlan
from backend.services.operations.pruner import Pruner
from tests.retention.data import (
    DAY,
    deliveries,
    finished_run,
    limits,
    logs_of_days,
    rows,
    webhook,
)
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.log_index import index_agrees
from tests.support.logs import log, messages, send


async def prune(api: Api, limits: RetentionLimits) -> tuple[RetentionPlan, Removed]:
    """The plan, and what was removed. Afterwards nothing is left to remove."""
    plan = await api.service.retention.plan(limits)
    removed = await Pruner(api.service.retention, limits, considerate=False).start()
    assert (await api.service.retention.plan(limits)).rows == 0
    async with api.service.db_manager.async_transaction() as tx:
        broken = await tx.fetch_all("PRAGMA foreign_key_check")
    assert broken == []
    assert index_agrees(api.service.db_manager)
    return plan, removed


def counts(plan: RetentionPlan) -> Removed:
    return Removed(**{name: part["rows"] for name, part in plan.model_dump().items()})


@pytest.mark.parametrize(
    ("days", "newest", "left"),
    [
        (None, None, 15),
        (100, 100, 15),
        # A log that is exactly as old as the limit stays.
        (4, None, 15),
        (3, None, 12),
        (1, None, 6),
        (None, 15, 15),
        (None, 14, 14),
        (None, 4, 4),
        (None, 1, 1),
        # The limit that keeps fewer logs.
        (3, 4, 4),
        (1, 14, 6),
    ],
)
async def test_logs_go_by_age_and_by_number(
    api: Api, clock: SetClock, days: int | None, newest: int | None, left: int
) -> None:
    await logs_of_days(api, clock, 5)
    before = await messages(api)
    plan, removed = await prune(api, limits(logs=(days, newest)))
    assert counts(plan) == removed == Removed(logs=15 - left)
    assert await messages(api) == before[:left]


@pytest.mark.parametrize("limit", [(30, None), (None, 2)])
async def test_a_clock_that_was_behind_takes_nothing_along(
    api: Api, clock: SetClock, limit: tuple[int | None, int | None]
) -> None:
    await send(api, log("old"))
    clock.advance(50 * DAY)
    await send(api, log("new"))
    clock.advance(-45 * DAY)
    await send(api, log("new, and dated long ago"))
    clock.advance(45 * DAY)
    await send(api, log("newest"))
    await Pruner(api.service.retention, limits(logs=limit), considerate=False).start()
    assert "new" in await messages(api)
    assert "old" not in await messages(api)
    clock.advance(31 * DAY)
    await Pruner(api.service.retention, limits(logs=(30, None)), considerate=False).start()
    assert await messages(api) == []


async def test_a_clock_that_was_ahead_holds_nothing_up(api: Api, clock: SetClock) -> None:
    clock.advance(1000 * DAY)
    await send(api, log("old, and dated in a far future"))
    clock.advance(-1000 * DAY)
    await send(api, log("old"))
    clock.advance(50 * DAY)
    await send(api, log("new"))
    await prune(api, limits(logs=(30, None)))
    assert await messages(api) == ["new"]


@pytest.mark.parametrize("days", [10, 29])
async def test_what_is_dated_ahead_keeps_nothing_else(api: Api, clock: SetClock, days: int) -> None:
    clock.advance(days * DAY)
    await send(api, log("dated ahead"))
    clock.advance(-days * DAY)
    await send(api, log("old"), log("old"))
    clock.advance(32 * DAY)
    await send(api, log("new"))
    _, removed = await prune(api, limits(logs=(30, None)))
    assert removed.logs == 2
    assert await messages(api) == ["new", "dated ahead"]
    assert (await prune(api, limits(logs=(None, 1))))[1].logs == 1
    assert await messages(api) == ["new"]


@pytest.mark.parametrize(("logs", "own"), [(5, 200), (200, 5), (150, 150)])
async def test_the_services_own_logs_and_those_of_clients_do_not_push_each_other_out(
    api: Api, clock: SetClock, logs: int, own: int
) -> None:
    line = OwnLogEntry.model_validate(log("own", "WARNING", component="strongroom.test"))
    for number in range(max(logs, own)):
        if number < own:
            await api.service.logs.append_own([line])
        if number < logs:
            await send(api, log(f"of a client, {number}"))
        clock.advance(1)
    plan, removed = await prune(api, limits(logs=(None, 100), own_logs=(None, 50)))
    assert counts(plan) == removed
    left = await messages(api, limit=500)
    assert left.count("own") == min(own, 50)
    assert len(left) - left.count("own") == min(logs, 100)
    clock.advance(DAY)
    _, removed = await prune(api, limits(own_logs=(1, None)))
    assert (removed.own_logs, removed.logs) == (min(own, 50), 0)


async def test_all_logs_may_go(api: Api, clock: SetClock) -> None:
    await logs_of_days(api, clock, 2)
    clock.advance(10 * DAY)
    assert (await prune(api, limits(logs=(5, None))))[1] == Removed(logs=6)
    assert await messages(api) == []
    assert (await prune(api, limits(logs=(5, 1))))[1] == Removed()


async def test_holes_in_the_ids_do_not_count(api: Api, clock: SetClock) -> None:
    second = await api.new_project("second")
    await send(api, *(log(f"{n}", project_id=1 + n % 2) for n in range(20)))
    await api.call("DELETE", f"/api/projects/{second}?purge=true", status=204)
    _, removed = await prune(api, limits(logs=(None, 4)))
    assert removed.logs == 16
    assert await messages(api) == ["18", "16", "14", "12"]
    clock.advance(1)


async def test_logs_of_what_is_gone_always_go(api: Api) -> None:
    second = await api.new_project("second")
    run = await finished_run(api)
    await send(api, *(log(project_id=second) for _ in range(5)), log("stays", project_id=1))
    await api.call("DELETE", f"/api/projects/{second}?purge=true", status=204)
    async with api.service.transaction() as repositories:
        await repositories.runs.delete(run["id"])
    plan, removed = await prune(api, limits())
    assert counts(plan) == removed == Removed(logs=6)
    assert await messages(api) == ["stays"]
    assert await rows(api.service.db_manager, "system_log_removals") == []


async def test_runs_go_by_the_time_since_their_end(api: Api, clock: SetClock) -> None:
    old = await finished_run(api)
    long_running = await api.new_run()
    await api.step(long_running["id"], "running")
    clock.advance(5 * DAY)
    await api.step(long_running["id"], "completed")
    new = await finished_run(api)
    plan, removed = await prune(api, limits(runs=(3, None)))
    assert counts(plan) == removed == Removed(runs=1, logs=1)
    manager = api.service.db_manager
    assert await rows(manager, "agent_runs") == [long_running["id"], new["id"]]
    for table in ("pipeline_states", "messages", "test_results", "grainchain_snapshots"):
        assert set(await rows(manager, table, "agent_run_id")) <= {long_running["id"], new["id"]}
    assert await messages(api) == [f"of run {new['id']}"]
    await api.get(f"/api/agent-runs/{old['id']}", 404)


@pytest.mark.parametrize("status", ["pending", "running", "paused"])
async def test_a_run_that_has_not_ended_stays(api: Api, clock: SetClock, status: str) -> None:
    run = await api.new_run()
    for step in {"pending": [], "running": ["running"], "paused": ["running", "paused"]}[status]:
        await api.step(run["id"], step)
    await send(api, log("of it", agent_run_id=run["id"]))
    for _ in range(3):
        await finished_run(api)
    clock.advance(1000 * DAY)
    _, removed = await prune(api, limits(runs=(1, 1)))
    assert removed.runs == 3
    assert await rows(api.service.db_manager, "agent_runs") == [run["id"]]
    assert await messages(api) == ["of it"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_however_a_run_ended_it_goes(api: Api, clock: SetClock, status: str) -> None:
    await finished_run(api, status=status)
    clock.advance(2 * DAY)
    assert (await prune(api, limits(runs=(1, None))))[1].runs == 1


async def test_each_project_keeps_its_newest_runs(api: Api) -> None:
    second = await api.new_project("second")
    ids: dict[int, list[int]] = {1: [], second: []}
    for project_id in (1, 1, second, 1, 1, 1, second):
        ids[project_id].append((await finished_run(api, project_id))["id"])
    plan, removed = await prune(api, limits(runs=(None, 2)))
    assert counts(plan) == removed == Removed(runs=3, logs=3)
    expected = sorted(ids[1][-2:] + ids[second])
    assert await rows(api.service.db_manager, "agent_runs") == expected


async def test_run_numbers_go_on_after_all_runs_are_gone(api: Api, clock: SetClock) -> None:
    for _ in range(3):
        await finished_run(api)
    clock.advance(2 * DAY)
    assert (await prune(api, limits(runs=(1, None))))[1].runs == 3
    assert (await api.new_run())["run_number"] == 4


async def test_both_limits_of_runs_count_a_run_once(api: Api, clock: SetClock) -> None:
    for _ in range(4):
        await finished_run(api)
    clock.advance(2 * DAY)
    await finished_run(api)
    plan, removed = await prune(api, limits(runs=(1, 3), logs=(1, None)))
    assert counts(plan) == removed == Removed(runs=4, logs=4)


@pytest.mark.parametrize(
    ("days", "newest", "left"),
    [(None, None, 6), (1, None, 4), (None, 3, 3), (1, 5, 4), (0, 3, 2), (None, 1, 1)],
)
async def test_deliveries_go_by_age_and_by_number(
    api: Api, clock: SetClock, days: int | None, newest: int | None, left: int
) -> None:
    hook = await webhook(api)
    for day in range(3):
        await deliveries(api, hook, f"{day} a", f"{day} b", payload=f'{{"a": "{"x" * 5000}"}}')
        clock.advance(DAY if day < 2 else 0)
    plan, removed = await prune(api, limits(deliveries=(days, newest)))
    assert counts(plan) == removed == Removed(deliveries=6 - left)
    guids = [f"{day} {name}" for day in range(3) for name in "ab"]
    assert await rows(api.service.db_manager, "webhook_deliveries", "guid") == guids[6 - left :]
    if left < 6:
        assert (6 - left) * 5000 < plan.deliveries.bytes < (6 - left) * 6000


async def test_the_rest_is_never_touched(api: Api, clock: SetClock) -> None:
    await api.post("/api/projects/1/secrets", {"key": "K", "value": "v"}, 201)
    await finished_run(api)
    manager = api.service.db_manager
    tables = ("projects", "project_settings", "project_secrets", "project_keys", "audit_entries")
    before = [await rows(manager, table) for table in tables]
    clock.advance(10_000 * DAY)
    await prune(api, limits(logs=(1, 1), runs=(1, 1), deliveries=(1, 1)))
    assert [await rows(manager, table) for table in tables] == before
