"""The search for rows to remove reads no other rows."""

import pytest

from backend.repositories.audit_repository import AuditAnchor
from backend.repositories.audit_retention_repository import AuditRetentionRepository
from backend.repositories.retention_repository import (
    ANSWERS,
    DELIVERIES,
    KEPT,
    LOGS,
    OWN_LOGS,
    Cutoff,
    Kept,
    RetentionRepository,
)
from tests.retention.audit_data import add
from tests.retention.data import deliveries, finished_run, logs_of_days, webhook
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.plans import Explaining, is_careless

TIME = "2099-01-01T00:00:00.000000Z"
INDEXES = {
    LOGS: "system_logs_created_at",
    OWN_LOGS: "system_logs_own_created_at",
    DELIVERIES: "webhook_deliveries_created_at",
    ANSWERS: "stored_answers_created",
}


@pytest.fixture
async def explaining(api: Api, clock: SetClock) -> Explaining:
    """An executor over a database with rows of every kind."""
    await logs_of_days(api, clock, 3)
    for _ in range(3):
        await finished_run(api)
    await deliveries(api, await webhook(api), "a", "b", "c")
    for key in "abc":
        headers = {"Idempotency-Key": key}
        log = {"level": "INFO", "message": key}
        assert (await api.client.post("/api/logs", json=log, headers=headers)).is_success
    return Explaining(api.service.db_manager.async_pool)


async def test_every_step_finds_its_rows_by_an_index(api: Api, explaining: Explaining) -> None:
    data = RetentionRepository(api.service.db_manager).using(explaining)
    cutoff = Cutoff(TIME, 2, TIME, 3)
    for kept in KEPT:
        await data.cutoff(kept, before=TIME, newest=None, now=TIME)
        await data.span(kept.table)
        await data.extent(kept, cutoff)
        await data.ids_until(kept, cutoff, 10)
    await data.runs_finished_before(TIME, 10)
    await data.finished_runs_beyond(1, 1, 10)
    await data.characters_of_runs([1, 2])
    await data.count_logs_of_runs([1, 2], cutoff)
    await data.count_orphaned_logs(cutoff)
    await data.remove_deliveries([1])
    await data.remove_finished_runs([1])
    # All noted rows are to be removed, and a sample has few rows, which an index found.
    known = ("SCAN r USING COVERING INDEX sqlite_autoindex_system_log_removals", "SCAN sample")
    steps = [step for step in explaining.steps() if not step.startswith(known)]
    assert [step for step in steps if is_careless(step)] == []


async def test_the_steps_of_the_audit_read_only_the_old_end_of_the_table(
    api: Api, explaining: Explaining
) -> None:
    await add(api.service, "x!", "x!", "y!", "w", "v")
    await api.service.db_manager.async_pool.execute(
        "INSERT INTO audit_anchor VALUES (1, 1, ?, 0, ?)", ("0" * 64, "0" * 64)
    )
    data = AuditRetentionRepository(api.service.db_manager).using(explaining)
    ids = [linked.row.id for linked in await data.after(1, 100)]
    assert await data.end_of_page(1, len(ids)) == ids[-1]
    assert await data.end_of_old(1, ids[-1], TIME) == ids[-1]
    assert await data.count_between(1, ids[-1]) > 0
    assert await data.size() > 0
    assert (await data.superseded(1, ids[-1], 100))[0]
    assert len(await data.linked(ids[::2])) == len(ids[::2])
    # The newest of a target has a row of its own, however many entries the target has.
    assert [one.row.target for one in await data.newest_with_digest(ids[-5:])] == ["x", "y"]
    await data.set_previous_macs([("0" * 64, ids[1]), ("0" * 64, ids[2])])
    assert await data.remove_between(ids[0], ids[2]) == 1
    assert await data.remove(ids[1:2]) == 1
    await data.set_anchor(AuditAnchor(2, "0" * 64, 0, "0" * 64))
    steps = explaining.steps()
    # A sample has few rows: the first ones of the table.
    sample = ("SCAN sample", "SCAN audit_entries")
    assert [step for step in steps if is_careless(step) and step not in sample] == []
    assert steps.count("SCAN audit_entries") == 1
    found = {step for step in steps if "audit_entries" in step}
    assert all(
        "USING INTEGER PRIMARY KEY (rowid" in step or step == "SCAN audit_entries" for step in found
    ), found


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: INDEXES[kept])
async def test_counting_the_newest_reads_an_index_and_only_if_there_may_be_more(
    api: Api, explaining: Explaining, kept: Kept
) -> None:
    data = RetentionRepository(api.service.db_manager).using(explaining)
    assert await data.cutoff(kept, before=None, newest=1000, now=TIME) is None
    assert len(explaining.plans) == 2
    explaining.plans.clear()
    cutoff = await data.cutoff(kept, before=None, newest=1, now=TIME)
    assert (cutoff is None) == (kept is OWN_LOGS)
    assert explaining.steps()[2].startswith(
        f"SEARCH {kept.table} USING COVERING INDEX {INDEXES[kept]} (created_at<?)"
    )
