"""Background work: one task at a time, until it ends or is told to stop."""

import asyncio

import pytest

from backend.services.principal import EVERYBODY, SYSTEM, Principal, acting_as, current_principal
from backend.services.single_task import SingleTask, StopSignal


class Work:
    """Counts how often it was started, and ends when the test permits it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.principals: list[Principal] = []
        self.may_end = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.begun += 1
        self.principals.append(current_principal())
        await self.may_end.wait()
        self.ended += 1
        if self._error is not None:
            raise self._error
        return self.begun


async def test_one_runs_at_a_time_and_the_next_one_after_it() -> None:
    work = Work()
    task = SingleTask("work", work)
    assert not task.is_running()
    first = task.start()
    assert task.start() is first
    assert task.is_running()
    work.may_end.set()
    assert await first == 1
    assert not task.is_running()
    assert await task.start() == 2


async def test_it_goes_on_when_its_caller_is_cancelled() -> None:
    work = Work()
    task = SingleTask("work", work)
    caller = asyncio.create_task(task.run_for(10_000))
    while not work.begun:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    work.may_end.set()
    await task.stop()
    assert work.ended == 1


async def test_a_run_for_a_time_returns_the_task_running_or_done() -> None:
    work = Work()
    task = SingleTask("work", work)
    running = await task.run_for(0)
    assert not running.done()
    work.may_end.set()
    assert (await task.run_for(10_000)).result() == 1


@pytest.mark.parametrize(("by_service", "principal"), [(True, SYSTEM), (False, EVERYBODY)])
async def test_it_acts_as_the_service_or_as_its_caller(
    by_service: bool, principal: Principal
) -> None:
    work = Work()
    work.may_end.set()
    with acting_as(EVERYBODY):
        await SingleTask("work", work, by_service=by_service).start()
        assert current_principal() is EVERYBODY
    assert work.principals == [principal]


async def test_what_it_raises_is_told() -> None:
    error, told = ValueError("wrong"), list[BaseException]()
    work = Work(error)
    work.may_end.set()
    task = SingleTask("work", work, on_failure=told.append)
    await task.stop()
    assert told == []
    with pytest.raises(ValueError, match="wrong"):
        await task.start()
    assert told == [error]


async def test_a_cancelled_one_has_not_failed() -> None:
    told = list[BaseException]()
    task = SingleTask("work", Work(), on_failure=told.append)
    task.start().cancel()
    await task.stop()
    assert told == []


async def test_a_stop_tells_the_work_and_waits_for_it() -> None:
    async def until_stopped() -> bool:
        while not task.stopping.is_set():
            await task.stopping.rest(10_000)
        return True

    task = SingleTask("work", until_stopped)
    running = task.start()
    await task.stop()
    assert running.result()


async def test_a_rest_ends_by_itself_or_by_the_signal() -> None:
    signal = StopSignal()
    await signal.rest(0)
    assert not signal.is_set()
    resting = asyncio.create_task(signal.rest(10_000))
    await asyncio.sleep(0)
    signal.set()
    await resting
    assert signal.is_set()
    await signal.rest(10_000)
