"""Finding what is to go reads no more than what goes."""

import pytest

from backend.repositories.retention_repository import RetentionRepository, Table
from tests.plans import Explaining, is_careless
from tests.retention.data import deliveries, finished_run, logs_of_days, webhook
from tests.runs.api import Api, Clock

TIME = "2099-01-01T00:00:00.000000Z"
TABLES: tuple[Table, ...] = ("system_logs", "webhook_deliveries")


@pytest.fixture
async def explaining(api: Api, clock: Clock) -> Explaining:
    """An executor over a database with something of everything."""
    await logs_of_days(api, clock, 3)
    for _ in range(3):
        await finished_run(api)
    await deliveries(api, await webhook(api), "a", "b", "c")
    return Explaining(api.service.db_manager.async_pool)


async def test_every_step_finds_its_rows_by_an_index(api: Api, explaining: Explaining) -> None:
    data = RetentionRepository(api.service.db_manager).using(explaining)
    for table in TABLES:
        await data.last_id_before(table, TIME)
        await data.last_id_before_newer(table, 2, TIME)
        await data.span(table)
        await data.extent_until(table, 2)
    await data.runs_finished_before(TIME, 10)
    await data.finished_runs_beyond(1, 1, 10)
    await data.characters_of_runs([1, 2])
    await data.count_logs_of_runs([1, 2], 0)
    await data.count_noted_logs(0)
    await data.remove_deliveries_until(1, 10)
    await data.remove_finished_runs([1])
    # What is noted is all to go, and a sample is of some rows that were found by an index.
    steps = [step for step in explaining.steps() if step not in ("SCAN r", "SCAN sample")]
    assert [step for step in steps if is_careless(step)] == []


@pytest.mark.parametrize("table", TABLES)
async def test_counting_the_newest_reads_an_index_and_only_if_there_may_be_more(
    api: Api, explaining: Explaining, table: Table
) -> None:
    data = RetentionRepository(api.service.db_manager).using(explaining)
    assert await data.last_id_beyond(table, 1000) is None
    assert len(explaining.plans) == 2
    explaining.plans.clear()
    assert await data.last_id_beyond(table, 1) is not None
    steps = explaining.steps()
    assert steps[-1] == f"SCAN {table} USING COVERING INDEX {table}_created_at"
    assert not any("TEMP B-TREE" in step for step in steps)
