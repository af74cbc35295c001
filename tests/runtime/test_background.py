"""Background work continues whatever its jobs do, and ends when it is told to."""

import asyncio

import pytest

from backend.runtime import background
from backend.runtime.background import BackgroundWork

MOMENT = 0.001


class Job:
    """A job that a test can wait for, and that fails the first time if it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.runs = 0
        self._fails = fails
        self._again = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.runs == 3:
            self._again.set()
        if self._fails and self.runs == 1:
            raise ValueError("once")

    async def third_run(self) -> None:
        """Wait until it has run three times."""
        async with asyncio.timeout(30):
            await self._again.wait()


async def test_a_job_runs_again_and_again() -> None:
    work, job = BackgroundWork(), Job()
    work.every(MOMENT, "job", job)
    await job.third_run()
    await work.stop()
    runs = job.runs
    await asyncio.sleep(MOMENT * 5)
    assert job.runs == runs


async def test_a_job_that_fails_runs_again_and_disturbs_no_other() -> None:
    work, failing, other = BackgroundWork(), Job(fails=True), Job()
    work.every(MOMENT, "failing", failing)
    work.every(MOMENT, "other", other)
    await failing.third_run()
    await other.third_run()
    await work.stop()


async def test_a_job_that_failed_is_tried_again_long_before_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", MOMENT)
    tried, well = 0, asyncio.Event()

    async def job() -> None:
        nonlocal tried
        tried += 1
        if tried < 4:
            raise OSError("no room")
        well.set()

    work = BackgroundWork()
    work.every(3600, "job", job)
    async with asyncio.timeout(30):
        await well.wait()
    await work.stop()
    assert tried == 4


async def test_stopping_waits_for_the_job_that_runs_and_not_for_its_next_time() -> None:
    work = BackgroundWork()
    began, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def job() -> None:
        began.set()
        await may_end.wait()
        ended.set()

    work.every(3600, "job", job)
    await began.wait()
    stopping = asyncio.create_task(work.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    may_end.set()
    await stopping
    assert ended.is_set()
