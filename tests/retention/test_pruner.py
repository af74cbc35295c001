"""Removals during writes: in small steps, with room between them, and interrupted at any time."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from backend.schemas.retention import Removed, RetentionLimits, RetentionPlan
from backend.services.operations.pruner import STEP_SECONDS, Pace, Pruner
from backend.services.operations.retention import RemovalPhase
from database.errors import DatabaseBusy, DatabaseFull
from tests.retention.data import finished_run, limits, logs_of_days
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.logs import log, messages, send

NOTHING_KEPT = limits(logs=(None, 1))


def test_a_slow_step_makes_the_next_one_smaller_and_a_quick_one_larger() -> None:
    pace = Pace(first=100, most=400)
    sizes = []
    for seconds in (0.0, 0.0, 0.0, 1.0, 1.0, STEP_SECONDS):
        pace.took(seconds)
        sizes.append(pace.rows)
    assert sizes == [200, 400, 400, 200, 100, 100]
    for _ in range(20):
        pace.took(1.0)
    assert pace.rows == 1


async def test_others_write_between_two_steps(api: Api, clock: SetClock) -> None:
    await logs_of_days(api, clock, 1, each=900)
    seen: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    def write(removed: Removed) -> None:
        seen.append(removed.logs)
        tasks.append(asyncio.create_task(send(api, log("in between", "ERROR"))))

    pruner = Pruner(api.service.retention, limits(logs=(None, 10)), on_removed=write)
    removed = await pruner.start()
    await asyncio.gather(*tasks)
    assert len(seen) > 1
    assert seen == sorted(seen)
    # The end was fixed at the beginning: later logs stay.
    assert removed == Removed(logs=890)
    assert await messages(api, level="ERROR", limit=500) == ["in between"] * len(seen)
    assert len(await messages(api, limit=500)) == 10 + len(seen)


async def test_one_removal_runs_at_a_time(api: Api, clock: SetClock) -> None:
    await logs_of_days(api, clock, 1, each=100)
    pruner = Pruner(api.service.retention, NOTHING_KEPT)
    first = pruner.start()
    assert pruner.start() is first
    assert await first == Removed(logs=99)
    assert pruner.progress is not None
    assert pruner.progress.status == "completed"
    assert pruner.progress.removed == Removed(logs=99)
    assert pruner.progress.started_at == pruner.progress.finished_at == clock.text()
    second = pruner.start()
    assert second is not first
    assert await second == Removed()


async def test_it_stops_between_two_steps_and_another_one_goes_on(
    api: Api, clock: SetClock
) -> None:
    await logs_of_days(api, clock, 3, each=900)
    stopping: list[asyncio.Task[None]] = []

    def stop(_removed: Removed) -> None:
        stopping.append(asyncio.create_task(pruner.stop()))

    pruner = Pruner(api.service.retention, NOTHING_KEPT, on_removed=stop)
    removed = await pruner.start()
    await asyncio.gather(*stopping)
    assert 0 < removed.logs < 2699
    assert pruner.progress is not None
    assert pruner.progress.status == "interrupted"
    again = await Pruner(api.service.retention, NOTHING_KEPT).start()
    assert removed.logs + again.logs == 2699


async def test_a_stop_does_not_wait_for_the_rest_after_a_step(api: Api) -> None:
    pruner = Pruner(api.service.retention, NOTHING_KEPT)
    resting = asyncio.create_task(pruner._stopping.rest(10_000))
    await asyncio.sleep(0)
    await pruner.stop()
    await resting


class Steps:
    """Removals whose steps are the test's functions."""

    def __init__(self, *steps: Callable[[], int]) -> None:
        self.clock = SetClock()
        self._steps = list(steps)

    def orphaned_logs(self) -> RemovalPhase:
        return RemovalPhase("logs", self._step, 500, 2000)

    async def record_prune(self) -> None:
        raise AssertionError("an unexpected removal")

    async def plan(self, limits: RetentionLimits) -> RetentionPlan:
        raise AssertionError(f"an unexpected removal: {limits}")

    async def removal(self, _limits: RetentionLimits) -> list[RemovalPhase]:
        return []

    async def most_logs(self) -> int:
        return 0

    async def tidy_log_index(self, *, begin: bool) -> bool:
        raise AssertionError(f"nothing to tidy: {begin}")

    async def _step(self, _rows: int) -> int:
        return self._steps.pop(0)() if self._steps else 0


def refusing(error: Exception) -> Callable[[], int]:
    """A step that raises."""

    def step() -> int:
        raise error

    return step


async def test_while_the_database_is_busy_it_waits() -> None:
    busy = refusing(DatabaseBusy(retry_after=0))
    pruner = Pruner(Steps(lambda: 3, busy, busy, lambda: 4), NOTHING_KEPT)
    assert await pruner.start() == Removed(logs=7)


async def test_what_breaks_it_off_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    pruner = Pruner(Steps(lambda: 3, refusing(DatabaseFull("SQLITE_FULL"))), NOTHING_KEPT)
    with caplog.at_level(logging.ERROR), pytest.raises(DatabaseFull):
        await pruner.start()
    assert pruner.progress is not None
    assert pruner.progress.status == "interrupted"
    assert pruner.progress.removed == Removed(logs=3)
    assert [record.name for record in caplog.records] == ["strongroom.retention"]


async def test_the_index_is_tidied_when_a_third_is_gone(api: Api) -> None:
    pool = api.service.db_manager.async_pool

    async def segments() -> int:
        row = await pool.fetch_one("SELECT count(DISTINCT segid) FROM system_log_words_idx")
        assert row is not None
        return int(row[0])

    async def keep(newest: int) -> None:
        pruner = Pruner(api.service.retention, limits(logs=(None, newest)), considerate=False)
        await pruner.start()

    for batch in range(14):
        await send(api, *(log(f"w{batch}x{number}") for number in range(1000)))
    # After the removal of a few logs the index is not merged.
    await keep(11_000)
    assert await segments() > 1
    await keep(1_000)
    assert await segments() == 1
    assert await messages(api, q="w13x999") == ["w13x999"]
    assert await messages(api, q="w12x999") == []


async def test_a_removal_does_not_end_a_run_that_began_again(api: Api) -> None:
    # The second step checks again, because time has passed since the first one.
    run = await finished_run(api)
    async with api.service.transaction() as repositories:
        ids = await repositories.retention.runs_finished_before("2099-01-01T00:00:00.000000Z", 10)
    assert ids == [run["id"]]
    await api.service.db_manager.async_pool.execute(
        "UPDATE agent_runs SET status = 'running', completed_at = NULL"
    )
    async with api.service.transaction() as repositories:
        assert await repositories.retention.remove_finished_runs(ids) == 0
