"""Commands that a signal ends: one line, the exit status that shells expect, and no half-done
work."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.cli.failures import ended_by_signals, guarded, interrupted_at_once
from tests.cli.conftest import Command
from tests.support.processes import PATIENCE, STRONGROOM, environment

LOCK = "strongroom.db.lock"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@contextmanager
def started(cwd: Path, *arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The command as a process with a standard input."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [STRONGROOM, *arguments], cwd=cwd, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: "subprocess.Popen[bytes]", there: Callable[[], bool]) -> None:
    """Wait until `there` holds, as long as the process lives."""
    while not there():
        assert process.poll() is None
        os.sched_yield()


def test_an_interrupted_demo_leaves_an_empty_directory(
    command: Command, directory: Path, tmp_path: Path
) -> None:
    with started(tmp_path, "demo", "--data-dir", directory) as process:
        wait_for(process, lambda: any(directory.glob(".strongroom-*.partial/admin.token")))
        # Until the command has finished, no other command takes this for an installation.
        assert not (directory / "strongroom.db").exists()
        for name in ("serve", "migrate"):
            refused = command(name, "--data-dir", directory)
            assert refused.status == 1
            assert f"process {process.pid} is using the data directory" in refused.complaint
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, b"", b"strongroom: interrupted\n")
    assert [path.name for path in directory.iterdir()] == [LOCK]
    assert command("migrate", "--data-dir", directory).status == 0


def test_a_demo_that_was_killed_is_no_installation(
    command: Command, directory: Path, tmp_path: Path
) -> None:
    with started(tmp_path, "demo", "--data-dir", directory) as process:
        wait_for(process, lambda: any(directory.glob(".strongroom-*.partial/admin.token")))
    refused = command("migrate", "--data-dir", directory)
    assert refused.status == 1
    assert f"a demo or a restore into {directory} did not finish" in refused.complaint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_waits_for_its_pipe_is_interrupted_at_once(
    command: Command, directory: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with started(tmp_path, "import", "-", "--data-dir", directory) as process:
        wait_for(process, (directory / "strongroom.db-wal").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (128 + number, b"")
    assert err.startswith(b"strongroom: interrupted")
    assert err.count(b"\n") == 1
    assert command("verify", "--data-dir", directory).status == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_has_the_status_that_shells_expect(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    undone: list[str] = []

    def command() -> None:
        try:
            signal.raise_signal(number)
        finally:
            undone.append("all")

    assert guarded(command) == 128 + number
    assert undone == ["all"]
    assert capsys.readouterr().err == "strongroom: interrupted\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ended_by_signals() as came, interrupted_at_once():
            signal.raise_signal(number)
        assert came == []
    finally:
        signal.signal(number, before)


def test_where_interruptions_are_ignored_other_signals_are_not() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert guarded(lambda: signal.raise_signal(signal.SIGTERM)) == 143
    finally:
        signal.signal(signal.SIGINT, before)
