"""The demonstration: about fifty thousand rows in an empty directory, the same for the same
seed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.cli import main
from backend.cli.demo_week import PROJECTS, RUNS, DemoClock, DemoWeek
from backend.runtime import Runtime
from config.settings import Settings

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)


async def week(data_dir: Path, seed: int) -> dict[str, list[dict[str, object]]]:
    """The rows that a small week leaves in the tables that a front end shows."""
    clock = DemoClock(BEGIN)
    runtime = await Runtime.start(Settings(data_dir=data_dir, db_readers=1), clock=clock)
    try:
        await DemoWeek(runtime.service, clock, seed=seed, runs=20).fill()
        query = runtime.manager.async_execute_query
        return {
            table: await query(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608
            for table in (
                "projects",
                "project_settings",
                "agent_runs",
                "pipeline_states",
                "messages",
                "test_results",
                "grainchain_snapshots",
                "webhook_deliveries",
                "system_logs",
            )
        }
    finally:
        await runtime.stop()


async def test_the_same_seed_gives_the_same_week(tmp_path: Path) -> None:
    first = await week(tmp_path / "first", 1)
    assert await week(tmp_path / "second", 1) == first
    assert await week(tmp_path / "third", 2) != first
    assert all(first.values())
    assert len(first["projects"]) == PROJECTS
    statuses = {run["status"] for run in first["agent_runs"]}
    assert {"pending", "running", "paused", "completed"} <= statuses
    times = [str(log["created_at"]) for log in first["system_logs"]]
    assert "2026-01-05" <= min(times) < max(times) < "2026-01-13"


@pytest.mark.parametrize(
    ("runs", "least", "most"),
    [(24, 2_000, 5_000), pytest.param(RUNS, 45_000, 65_000, marks=pytest.mark.long_form)],
)
def test_the_command_fills_an_empty_directory_and_no_other(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    least: int,
    most: int,
) -> None:
    defaults = DemoWeek.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "runs", runs)
    call = ["demo", "--until", "2026-01-12", "--data-dir", str(tmp_path / "data"), "--json"]
    assert main(call) == 0
    report = json.loads(capsys.readouterr().out)
    assert least <= report["total"] <= most
    assert report["rows"]["projects"] == PROJECTS
    before = (tmp_path / "data" / "strongroom.db").read_bytes()
    assert main(call) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "is not empty" in captured.err
    assert captured.err.count("\n") == 1
    assert (tmp_path / "data" / "strongroom.db").read_bytes() == before
    assert main(["verify", "--data-dir", str(tmp_path / "data")]) == 0
