"""The stored number of pending runs always equals their count."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from database.migrator import load_migrations, migrate
from tests.database.rows import NOW, insert, query
from tests.support.api import Api
from tests.support.clocks import SetClock

COUNTED = (
    "SELECT q.project_id, q.pending_runs, (SELECT count(*) FROM agent_runs AS r"
    " WHERE r.project_id = q.project_id AND r.status = 'pending') AS counted FROM run_queues AS q"
)


async def assert_right(api: Api) -> None:
    rows = await api.service.db_manager.async_pool.fetch_all(COUNTED)
    assert [row["pending_runs"] for row in rows] == [row["counted"] for row in rows]


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
    assert query(before, COUNTED) == [(1, 3, 3)]
    before.execute("DELETE FROM agent_runs WHERE id = 1")
    assert query(before, COUNTED) == [(1, 2, 2)]
