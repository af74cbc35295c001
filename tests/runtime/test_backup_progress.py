"""What others see of a backup that is being made."""

import asyncio
import threading
from pathlib import Path

import pytest

from backend.runtime import Runtime, make_backup
from backend.runtime.audit_heads import HeadsFile
from backend.runtime.backups import ServerBackups
from backend.services.operations.work_progress import BACKUP_STEPS, WorkProgress
from config.settings import Settings
from database.base import utc_now
from database.errors import DatabaseBusy


class Watch:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_estimated_from_the_share_that_is_done() -> None:
    watch, seen = Watch(), list[float]()
    progress = WorkProgress({"a": 0.25, "b": 0.75}, on_share=seen.append, clock=watch)
    assert (progress.share, progress.seconds_left()) == (0.0, None)
    watch.now += 5
    progress.tell("a", 0.5)
    assert progress.seconds_left() == pytest.approx(35)
    progress.tell("b", 0.0)
    # A step that goes back, or beyond its end, does not.
    progress.tell("a", 0.9)
    progress.of("b")(2.0)
    assert (progress.share, progress.seconds_left()) == (1.0, 0.0)
    assert seen == [0.125, 0.25, 1.0]


def test_the_steps_of_a_backup_are_all_of_it() -> None:
    assert sum(BACKUP_STEPS.values()) == pytest.approx(1)


async def test_a_backup_tells_each_of_its_steps(installed: Settings, tmp_path: Path) -> None:
    runtime = await Runtime.start(installed)
    try:
        seen = list[float]()
        progress = WorkProgress(BACKUP_STEPS, on_share=seen.append)
        heads = HeadsFile(installed.data_dir / "audit.heads")
        target = tmp_path / "copy.db"
        make_backup(runtime.manager, runtime.keyring, heads, target, utc_now(), progress=progress)
        assert seen == sorted(seen)
        assert seen[-1] == pytest.approx(1)
        # One look at each step at least.
        assert len(seen) >= len(BACKUP_STEPS)
    finally:
        await runtime.stop()


async def test_another_backup_and_the_metrics_are_told_how_far_it_is(
    installed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await Runtime.start(installed)
    copied, go_on = threading.Event(), threading.Event()
    make = ServerBackups.make

    def slow(*arguments: object) -> object:
        progress = arguments[-1]
        assert isinstance(progress, WorkProgress)
        progress.tell("copying", 1.0)
        copied.set()
        assert go_on.wait(30)
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ServerBackups, "make", slow)
    try:
        task = asyncio.ensure_future(runtime.backups.create())
        await asyncio.to_thread(copied.wait, 30)
        with pytest.raises(DatabaseBusy, match=r"15% is done, and about \d+ seconds are left") as e:
            await runtime.backups.create()
        assert e.value.retry_after >= 1
        assert runtime.backups.progress.share == pytest.approx(0.15)
        go_on.set()
        await task
        assert runtime.backups.progress == (0.0, 0.0)
    finally:
        go_on.set()
        await runtime.stop()
