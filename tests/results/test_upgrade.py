"""Results of earlier versions, of which each test has one in a run, are attempt 1."""

from pathlib import Path

import httpx
import pytest

from tests.database.rows import NOW, insert, upgraded_to
from tests.results.support import listed, upload
from tests.support.earlier import KEEP_ATTEMPTS

RESULTS = [("a", "failed"), ("b", "passed"), ("c", "running")]


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    """A database of an earlier version with a result of each of `RESULTS`."""
    path = tmp_path / "strongroom.db"
    with upgraded_to(path, KEEP_ATTEMPTS - 1) as connection:
        insert(connection, "projects")
        insert(connection, "run_queues")
        insert(connection, "agent_runs")
        for number, (name, status) in enumerate(RESULTS, 5):
            row = {"test_name": name, "status": status, "result_data": '{"a":1}'}
            insert(connection, "test_results", id=number, duration_seconds=1.5, **row)
    return path


async def test_the_upgrade_keeps_results_as_attempt_1(client: httpx.AsyncClient) -> None:
    page = await listed(client, 1)
    assert page["test_results"] == [
        {
            "id": number,
            "agent_run_id": 1,
            "test_type": "unit",
            "test_name": name,
            "attempt": 1,
            "flaky": False,
            "status": status,
            "duration_seconds": 1.5,
            "result_data": {"a": 1},
            "error_message": None,
            "screenshot_path": None,
            "log_path": None,
            "created_at": NOW,
            "updated_at": NOW,
        }
        for number, (name, status) in reversed(list(enumerate(RESULTS, 5)))
    ]
    assert page["summary"] == {"failed": 1, "passed": 1, "running": 1, "flaky": 0}
    assert await listed(client, 1, attempts="all") == page
    # They are the same when they are sent again, and the next result is another attempt.
    counts = await upload(client, 1, page)
    assert counts == {"created": 0, "updated": 0, "unchanged": 3}
    for name in "ac":
        await upload(client, 1, {"test_type": "unit", "test_name": name, "status": "passed"})
    found = (await listed(client, 1))["test_results"]
    assert {r["test_name"]: (r["attempt"], r["flaky"]) for r in found} == {
        "a": (2, True),
        "b": (1, False),
        "c": (1, False),
    }
