"""Old entries of the audit are removed by the command and by the server, and every other command
goes on with what is left."""

import json
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.runtime import Runtime
from config.settings import Settings
from tests.cli.conftest import Command
from tests.cli.piped import piped
from tests.cli.test_terminal import TERMINAL, open_terminal
from tests.retention.audit_data import add
from tests.support.processes import Serving, environment

OLD, STAY = 40, 4
"""The number of old entries, and of those that stay: the one of the first token, and the newest of
each target."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with old entries, without a running server. Copy it."""
    return tmp_path_factory.mktemp("template") / "data"


@pytest.fixture
async def installation(template: Path, directory: Path) -> Path:
    """The test's data directory with old entries."""
    if not template.exists():
        now = datetime.now(UTC)
        settings = Settings(_env_file=None, data_dir=template)
        runtime = await Runtime.start(settings, clock=lambda: now - timedelta(days=50))
        await add(runtime.service, *(f"t{n % (STAY - 1)}!" for n in range(OLD - 1)))
        await runtime.stop()
        runtime = await Runtime.start(settings)
        await add(runtime.service, "young")
        await runtime.stop()
    return Path(shutil.copytree(template, directory))


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Runs commands with a limit of 30 days."""
    monkeypatch.setenv("STRONGROOM_KEEP_AUDIT_DAYS", "30")
    return command


def test_old_entries_go_and_the_rest_goes_on(
    limited: Command, installation: Path, tmp_path: Path
) -> None:
    planned = limited("prune", "--dry-run", "--json", "--data-dir", installation).json
    assert planned["would_remove"]["audit"]["rows"] == OLD - STAY
    outcome = limited("prune", "--data-dir", installation)
    assert outcome.out.startswith(
        "0 logs, 0 runs, 0 deliveries, 0 versions, 0 deleted secrets, 0 stored answers and "
        f"{OLD - STAY} audit entries"
    )
    exported = tmp_path / "audit.jsonl"
    assert limited("audit", "export", str(exported), "--data-dir", installation).status == 0
    entries = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [one["target"] for one in entries[-2:]] == ["young", "retention/limits"]
    assert [one["previous_mac"] is None for one in entries] == [False] * (STAY + 1) + [True]
    assert len(entries) == STAY + 2
    verified = limited("verify", "--json", "--data-dir", installation)
    assert verified.status == 0
    [audit] = [check for check in verified.json["checks"] if check["name"] == "audit"]
    assert audit["checked"] == STAY + 2
    # A backup has the same, and so has what is restored from it.
    backup, restored = tmp_path / "backup.db", tmp_path / "restored"
    made = limited("backup", str(backup), "--json", "--data-dir", installation)
    assert (made.status, made.json["verified"]["audit_entries"]) == (0, STAY + 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRONGROOM_MASTER_KEYS_FILE", str(installation / "master.key"))
        assert limited("restore", str(backup), "--data-dir", restored).status == 0
        assert limited("verify", "--data-dir", restored).status == 0


def test_the_server_removes_them_and_goes_on(installation: Path, limited: Command) -> None:
    with Serving(installation, env=environment(KEEP_AUDIT_DAYS="30")) as serving:
        with serving.client() as client:
            answer = client.post("/api/retention/prune")
            assert answer.status_code == 200
            assert client.get("/api/retention").json()["would_remove"]["audit"]["rows"] == 0
            listed = client.get("/api/audit").json()["entries"]
            assert [one["id"] for one in listed[-STAY:]] == [OLD, OLD - 1, OLD - 2, 1]
            assert limited("verify", "--data-dir", installation).status == 0
        assert serving.end(signal.SIGKILL) == -signal.SIGKILL
    assert limited("verify", "--data-dir", installation).status == 0
    # The exported heads of the removed entries prove no loss.
    with Serving(installation) as serving:
        with serving.client() as client:
            losses = client.get("/api/audit?action=audit.loss_found").json()["entries"]
        assert losses == []
        assert serving.end() == 0


def test_damage_ends_the_removal_and_is_told(limited: Command, installation: Path) -> None:
    with closing(sqlite3.connect(installation / "strongroom.db")) as connection, connection:
        connection.execute("UPDATE audit_entries SET actor = 'x' WHERE id = 9")
    refused = limited("prune", "--data-dir", installation)
    assert refused.status == 1
    assert "audit entry 9 is not as it was written" in refused.complaint
    assert "strongroom verify" in refused.complaint
    verified = limited("verify", "--data-dir", installation)
    assert verified.status == 1
    assert "audit entry 9 is not as it was written" in verified.complaint


def test_at_a_terminal_a_verification_shows_how_far_it_is(installation: Path) -> None:
    line = ("verify", "--data-dir", installation)
    with (
        open_terminal() as terminal,
        piped(
            installation.parent, line, env=environment() | TERMINAL, stderr=terminal.end
        ) as process,
    ):
        shown = "\n".join(terminal.lines())
        ended = process.finish()
    assert ended.status == 0
    assert re.search(rf"checking the audit .*{OLD + 1}/{OLD + 1}", shown)
