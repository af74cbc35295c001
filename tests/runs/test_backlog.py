"""The stored numbers of runs always equal their counts."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from database.migrator import load_migrations, migrate
from models import RunStatus
from tests.database.rows import NOW, insert, query
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.earlier import COUNT_RUNS

COUNTED = "SELECT q.project_id, {} FROM run_queues AS q".format(  # noqa: S608
    ", ".join(
        f"q.{status}_runs, (SELECT count(*) FROM agent_runs AS r"  # noqa: S608
        f" WHERE r.project_id = q.project_id AND r.status = '{status}') AS {status}"
        for status in RunStatus
    )
)


async def assert_right(api: Api) -> None:
    for row in await api.service.db_manager.async_pool.fetch_all(COUNTED):
        for status in RunStatus:
            assert row[f"{status}_runs"] == row[status], status


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_to_runs_their_number_is_right(
    api: Api, clock: SetClock, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - it makes examples
    projects = [1, await api.new_project("second"), await api.new_project("third")]
    for _ in range(40):
        await api.new_run(chance.choice(projects))
    for _ in range(40):
        match chance.randrange(5):
            case 0:
                await api.client.post(
                    "/api/agent-runs/claim",
                    json={"worker": "w", "count": chance.randint(1, 3), "lease_seconds": 30},
                )
            case 1:
                clock.advance(chance.choice([10, 40]))
                await api.service.claims.expire_leases()
            case _:
                to = chance.choice(["running", "paused", "completed", "failed", "cancelled"])
                path = f"/api/agent-runs/{chance.randint(1, 40)}/transitions"
                answer = await api.client.post(path, json={"to": to})
                assert answer.status_code in (200, 409)
        await assert_right(api)
    backlog = await api.service.backlog.read()
    assert backlog is not None
    pending = (await api.get("/api/agent-runs?status=pending&limit=500"))["agent_runs"]
    assert backlog.pending == len(pending) > 0
    assert backlog.oldest_pending_at == pending[-1]["created_at"]
    await api.call("DELETE", f"/api/projects/{projects[1]}?purge=true", status=204)
    await assert_right(api)


@pytest.fixture
def before() -> Iterator[sqlite3.Connection]:
    """A database from before this number was stored."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection, load_migrations()[:5])
        yield connection


def test_runs_that_wait_already_are_counted_when_the_number_comes(
    before: sqlite3.Connection,
) -> None:
    insert(before, "projects")
    for number in (1, 2, 3):
        insert(before, "agent_runs", run_number=number)
    insert(before, "agent_runs", run_number=4, status="running", started_at=NOW)
    insert(before, "run_queues", last_run_number=4, next_run_id=1)
    migrate(before)
    assert query(before, COUNTED) == [(1, 3, 3, 1, 1, *[0] * 8)]
    before.execute("DELETE FROM agent_runs WHERE id = 1")
    assert query(before, COUNTED) == [(1, 2, 2, 1, 1, *[0] * 8)]


def test_all_runs_are_counted_when_the_other_numbers_come() -> None:
    earlier, later = NOW, "2026-02-03T00:00:00.000000Z"
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        migrate(connection, load_migrations()[: COUNT_RUNS - 1])
        for project in (1, 2, 3):
            insert(connection, "projects", github_repo=str(project), repo_key=str(project))
        for project in (1, 2):
            insert(connection, "run_queues", project_id=project, last_run_number=8)
        ended = [("completed", earlier), ("completed", later), ("failed", NOW), ("cancelled", NOW)]
        active = [("pending", None), ("running", None), ("paused", None), ("paused", None)]
        for number, (status, at) in enumerate([*ended, *active], 1):
            for project in (1, 2):
                fields = {"status": status, "completed_at": at, "started_at": NOW}
                insert(connection, "agent_runs", project_id=project, run_number=number, **fields)
        migrate(connection)
        counts = [1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1]
        assert query(connection, COUNTED) == [(1, *counts), (2, *counts)]
        last = "SELECT last_completed_at FROM run_queues"
        assert query(connection, last) == [(later,), (later,)]


def test_a_number_that_was_changed_in_the_file_keeps_no_run_from_changing() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        migrate(connection)
        insert(connection, "projects")
        insert(connection, "run_queues", last_run_number=1)
        insert(connection, "agent_runs", status="running", started_at=NOW)
        connection.execute("UPDATE run_queues SET running_runs = 0")
        connection.execute("UPDATE agent_runs SET status = 'completed', completed_at = ?", (NOW,))
        assert query(connection, "SELECT status FROM agent_runs") == [("completed",)]
