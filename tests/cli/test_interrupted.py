"""Commands that a signal ends: one line, the exit status that shells expect, and no half-done
work."""

import signal
from pathlib import Path

import pytest

from backend.cli.failures import ended_by_signals, guarded, interrupted_at_once
from tests.cli.conftest import Command
from tests.cli.piped import piped
from tests.support.processes import Outcome

LOCK = "strongroom.db.lock"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


def test_an_interrupted_demo_leaves_an_empty_directory(
    command: Command, directory: Path, tmp_path: Path
) -> None:
    with piped(tmp_path, ("demo", "--data-dir", directory)) as demo:
        demo.wait_for(lambda: any(directory.glob(".strongroom-*.partial/admin.token")))
        # Until the command has finished, no other command takes this for an installation.
        assert not (directory / "strongroom.db").exists()
        for name in ("serve", "migrate"):
            refused = command(name, "--data-dir", directory)
            assert refused.status == 1
            assert f"process {demo.process.pid} is using the data directory" in refused.complaint
        demo.process.send_signal(signal.SIGINT)
        assert demo.finish() == Outcome(130, "", "strongroom: interrupted\n")
    assert [path.name for path in directory.iterdir()] == [LOCK]
    assert command("migrate", "--data-dir", directory).status == 0


def test_a_demo_that_was_killed_is_no_installation(
    command: Command, directory: Path, tmp_path: Path
) -> None:
    with piped(tmp_path, ("demo", "--data-dir", directory)) as demo:
        demo.wait_for(lambda: any(directory.glob(".strongroom-*.partial/admin.token")))
    refused = command("migrate", "--data-dir", directory)
    assert refused.status == 1
    assert f"a demo or a restore into {directory} did not finish" in refused.complaint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_waits_for_its_pipe_is_interrupted_at_once(
    command: Command, directory: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with piped(tmp_path, ("import", "-", "--data-dir", directory)) as waiting:
        waiting.wait_for((directory / "strongroom.db-wal").exists)
        waiting.process.send_signal(number)
        ended = waiting.finish()
    assert (ended.status, ended.out) == (128 + number, "")
    assert ended.complaint.startswith("interrupted")
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
