"""`strongroom prune`: the plan, the removal, and a directory with a running server."""

import re
import shutil
import signal
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from backend.cli.prune import shown_size
from tests.cli.conftest import Command
from tests.cli.piped import piped
from tests.cli.test_terminal import TERMINAL, open_terminal
from tests.support.processes import Serving, environment, run

BATCH = [{"level": "INFO", "message": f"message {n} with some words"} for n in range(1000)]

NO_OTHERS = (
    "0 runs, 0 deliveries, 0 versions, 0 deleted secrets, 0 stored answers and 0 audit entries "
    "removed"
)


def fill(serving: Serving, batches: int) -> None:
    """Send `batches` thousand logs."""
    with serving.client() as client:
        for _ in range(batches):
            assert client.post("/api/logs", json={"logs": BATCH}).status_code == 201


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with 3,000 logs, without a running server. Copy it."""
    directory = tmp_path_factory.mktemp("template") / "data"
    with Serving(directory) as serving:
        fill(serving, 3)
        assert serving.end() == 0
    return directory


@pytest.fixture
def installation(template: Path, directory: Path) -> Path:
    """The test's data directory with 3,000 logs."""
    return Path(shutil.copytree(template, directory))


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Runs commands with a limit of 100 logs."""
    monkeypatch.setenv("STRONGROOM_KEEP_LOGS", "100")
    return command


def stored(directory: Path) -> int:
    with closing(connect(directory / "strongroom.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM system_logs").fetchone()
        return int(count)


def test_a_dry_run_shows_what_would_go_and_changes_nothing(
    limited: Command, installation: Path
) -> None:
    before = (installation / "strongroom.db").read_bytes()
    outcome = limited("prune", "--dry-run", "--data-dir", installation)
    assert (outcome.status, outcome.err) == (0, "")
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert lines[0] == ["what", "rows", "frees about"]
    assert [line[:2] for line in lines[1:]] == [
        ["logs", "2900"],
        ["own logs", "0"],
        ["runs", "0"],
        ["deliveries", "0"],
        ["stored answers", "0"],
        ["configuration versions", "0"],
        ["secret versions", "0"],
        ["deleted secrets", "0"],
        ["audit", "0"],
        ["all", "2900"],
    ]
    assert lines[1][2] == lines[-1][2]
    assert lines[2][2] == "0 bytes"
    assert (installation / "strongroom.db").read_bytes() == before
    told = limited("prune", "--dry-run", "--json", "--data-dir", installation).json
    assert told["would_remove"]["logs"]["rows"] == 2900
    assert shown_size(told["would_remove"]["logs"]["bytes"]) == lines[1][2]


def test_what_is_beyond_the_limits_goes(limited: Command, installation: Path) -> None:
    outcome = limited("prune", "--data-dir", installation)
    assert (outcome.status, outcome.err) == (0, "")
    first, second = outcome.out.splitlines()
    assert first == f"2900 logs, {NO_OTHERS}"
    assert second.startswith("the file has ")
    assert stored(installation) == 100
    again = limited("prune", "--data-dir", installation)
    assert again.out.splitlines()[0] == f"0 logs, {NO_OTHERS}"


def test_it_is_recorded_if_anything_was_to_go(limited: Command, installation: Path) -> None:
    for _ in range(2):
        assert limited("prune", "--data-dir", installation).status == 0
    with closing(connect(installation / "strongroom.db")) as connection:
        actions = connection.execute(
            "SELECT actor FROM audit_entries WHERE action = 'retention.applied'"
        ).fetchall()
    assert actions == [("system",)]


def test_compacting_gives_the_room_back(limited: Command, installation: Path) -> None:
    before = (installation / "strongroom.db").stat().st_size
    pruned = limited("prune", "--json", "--data-dir", installation).json
    assert {kind: rows for kind, rows in pruned["removed"].items() if rows} == {"logs": 2900}
    assert (installation / "strongroom.db").stat().st_size == pruned["file_bytes"] >= before
    # The plan's estimate of freed bytes is roughly right.
    assert 0.2 < pruned["free_bytes"] / before < 1
    compacted = limited("prune", "--compact", "--json", "--data-dir", installation).json
    assert compacted["free_bytes"] == 0
    assert (installation / "strongroom.db").stat().st_size == compacted["file_bytes"]
    assert compacted["file_bytes"] < before - pruned["free_bytes"] / 2
    assert limited("verify", "--data-dir", installation).status == 0


def test_beside_a_running_server_it_shows_and_names_the_call(
    limited: Command, directory: Path
) -> None:
    with Serving(directory) as serving:
        fill(serving, 1)
        shown = limited("prune", "--dry-run", "--json", "--data-dir", directory)
        assert shown.json["would_remove"]["logs"]["rows"] == 900
        refused = limited("prune", "--data-dir", directory)
        assert refused.status == 1
        assert str(serving.process.pid) in refused.complaint
        assert "POST /api/retention/prune" in refused.complaint
        assert serving.end() == 0
    assert stored(directory) == 1000


def test_the_server_does_it_by_itself(installation: Path) -> None:
    with Serving(installation, env=environment(KEEP_LOGS="50")) as serving:
        with serving.client() as client:
            answer = client.post("/api/retention/prune")
            assert answer.status_code == 200
        assert serving.end() == 0
    assert stored(installation) == 50


def test_without_a_database_there_is_nothing_to_prune(command: Command, directory: Path) -> None:
    for arguments in (["prune"], ["prune", "--dry-run"]):
        outcome = command(*arguments, "--data-dir", directory)
        assert outcome.status == 1
        assert "does not exist" in outcome.complaint
    assert not directory.exists()


def test_an_interrupted_one_goes_on(installation: Path) -> None:
    env = environment(KEEP_LOGS="1")
    with Serving(installation) as serving:
        fill(serving, 12)
        assert serving.end() == 0
    lock = installation / "strongroom.db.lock"
    with piped(installation.parent, ("prune", "--data-dir", installation), env=env) as pruning:
        # The work begins as soon as the process has the lock.
        pid = str(pruning.process.pid)
        pruning.wait_for(lambda: lock.read_text(encoding="ascii").strip() == pid)
        pruning.process.send_signal(signal.SIGINT)
        ended = pruning.finish()
    assert ended.status == 130
    assert ended.complaint == (
        "interrupted: what was removed is gone; run the same command again to go on"
    )
    assert run("prune", "--data-dir", installation, cwd=installation.parent, env=env).status == 0
    assert stored(installation) == 1


def test_at_a_terminal_it_shows_how_far_it_is(installation: Path) -> None:
    env = environment(KEEP_LOGS="1") | TERMINAL
    line = ("prune", "--data-dir", installation)
    with (
        open_terminal() as terminal,
        piped(installation.parent, line, env=env, stderr=terminal.end) as process,
    ):
        shown = "\n".join(terminal.lines())
        ended = process.finish()
    assert ended.status == 0
    assert re.search(r"removing .*2999/2999", shown)
    assert ended.out.startswith(f"2999 logs, {NO_OTHERS}\n")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1_500_000, "1.4 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert shown_size(size) == text
