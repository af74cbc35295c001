"""Every list of logs finds its rows through an index, in the list's order."""

import asyncio
import re
from itertools import product

import pytest

from backend.repositories.log_blocks import BLOCK, store_blocks
from backend.repositories.system_log_repository import LogFilter, Removal, SystemLogRepository
from models import LogLevel
from tests.logs.moves import make_earlier_logs
from tests.support.api import Api
from tests.support.logs import log, send
from tests.support.plans import Explaining, is_careless

TIME = "2026-01-31T12:00:00.000000Z"
# The matching rows of the full-text index, in its order; otherwise there would be a sort.
_FROM_INDEX = re.compile(r"SCAN i VIRTUAL TABLE INDEX \d+:.*M.*")
# The whole of an index that contains only rows of these levels.
_OF_LEVEL = re.compile(r"SCAN l USING INDEX system_logs_(warning|error|critical)")
_NEW_ROWS = re.compile(r"SCAN \d+ CONSTANT ROWS?")
_ROW_BY_ROW = "SCAN l"


@pytest.fixture
async def explaining(api: Api) -> Explaining:
    """An executor over a database with some logs."""
    await send(api, *(log(f"word {n}", "ERROR", project_id=1) for n in range(20)))
    return Explaining(api.service.db_manager.async_pool)


def careless(steps: list[str]) -> list[str]:
    """The steps that read more rows than the list has, or sort."""
    known = (_FROM_INDEX, _OF_LEVEL, _NEW_ROWS)
    return [
        step
        for step in steps
        if is_careless(step) and not any(pattern.fullmatch(step) for pattern in known)
    ]


FILTERS = [
    LogFilter(
        level=level,
        component=component,
        correlation_id=correlation_id,
        agent_run_id=run,
        project_ids=projects,
        since=since,
        until=until,
        words=words,
    )
    for level, component, correlation_id, run, projects, since, until, words in product(
        (None, LogLevel.INFO, LogLevel.ERROR),
        (None, "c"),
        (None, "x"),
        (None, 1),
        (None, (), (1,), (1, 2)),
        (None, TIME),
        (None, TIME),
        ((), ("word",)),
    )
]


@pytest.mark.shared
@pytest.mark.parametrize("after", [None, (10,)])
async def test_no_page_of_logs_scans_or_sorts(
    api: Api, explaining: Explaining, after: tuple[int] | None
) -> None:
    logs = SystemLogRepository(api.service.db_manager).using(explaining)
    for filter in FILTERS:
        await logs.page(filter, limit=50, after=after)
        steps = explaining.steps()
        # A list without filters is the table itself.
        everything = filter.project_ids == () or filter == LogFilter(
            since=filter.since, until=filter.until
        )
        wrong = careless(steps)
        assert wrong == [] or (everything and wrong == [_ROW_BY_ROW]), (filter, steps)
    assert len(FILTERS) == 768


@pytest.fixture
async def half_moved(api: Api) -> Explaining:
    """An executor over a database some of whose logs are in the index of an earlier version."""
    await send(api, *(log(f"word {n}", "ERROR", project_id=1) for n in range(20)))
    await asyncio.to_thread(make_earlier_logs, api.service.db_manager.config.path)
    await api.service.log_indexing.move(5)
    return Explaining(api.service.db_manager.async_pool)


@pytest.mark.parametrize("after", [None, (18,), (10,)])
async def test_no_page_scans_or_sorts_while_logs_are_moved(
    api: Api, half_moved: Explaining, after: tuple[int] | None
) -> None:
    logs = SystemLogRepository(api.service.db_manager).using(half_moved)
    for filter in FILTERS[::7]:
        await logs.page(filter, limit=50, after=after)
        steps = half_moved.steps()
        everything = filter.project_ids == () or filter == LogFilter(
            since=filter.since, until=filter.until
        )
        wrong = careless(steps)
        assert wrong == [] or (everything and wrong == [_ROW_BY_ROW]), (filter, steps)


async def test_moving_logs_reads_no_others(api: Api, half_moved: Explaining) -> None:
    logs = SystemLogRepository(api.service.db_manager).using(half_moved)
    assert await logs.index.move(5) == 5
    assert await logs.index.progress() is not None
    # Some of both indexes.
    await logs.remove([2, 3, 19, 20])
    assert careless(half_moved.steps()) == []


@pytest.mark.shared
async def test_a_single_trait_has_its_own_index(api: Api, explaining: Explaining) -> None:
    logs = SystemLogRepository(api.service.db_manager).using(explaining)
    for filter, index in (
        (LogFilter(level=LogLevel.WARNING), "SCAN l USING INDEX system_logs_warning"),
        (LogFilter(level=LogLevel.ERROR), "SCAN l USING INDEX system_logs_error"),
        (LogFilter(level=LogLevel.CRITICAL), "SCAN l USING INDEX system_logs_critical"),
        (LogFilter(project_ids=(1,)), "SEARCH l USING INDEX system_logs_project"),
        (LogFilter(agent_run_id=1), "SEARCH l USING INDEX system_logs_run"),
    ):
        await logs.page(filter, limit=50, after=None)
        assert explaining.steps()[0].startswith(index)


@pytest.mark.shared
async def test_a_token_of_very_many_projects_walks_the_rows_in_order(
    api: Api, explaining: Explaining
) -> None:
    logs = SystemLogRepository(api.service.db_manager).using(explaining)
    page = await logs.page(LogFilter(project_ids=tuple(range(1, 500))), limit=5, after=None)
    assert len(page.items) == 5
    assert careless(explaining.steps()) == [_ROW_BY_ROW]


async def test_nothing_else_about_logs_scans_or_sorts(api: Api, explaining: Explaining) -> None:
    logs = SystemLogRepository(api.service.db_manager).using(explaining)
    row = ("INFO", 20, "m", None, "{}", None, 1, None, None)
    await logs.append([row] * 3)
    await logs.projects_of_runs([1, 2])
    await logs.existing_projects([1, 2])
    await logs.next_removal()
    await logs.append([row], own=True)
    await logs.remove([1, 2])
    await logs.remove([4, 6])
    await logs.remove_of(Removal(1, "project_id", 1), 2)
    await logs.remove_of(Removal(1, "agent_run_id", 1), 2)
    assert careless(explaining.steps()) == []


@pytest.mark.shared
async def test_noting_a_block_reads_its_rows_and_sorts_only_these(explaining: Explaining) -> None:
    await store_blocks(explaining, 5 * BLOCK, newest=2)
    assert explaining.steps() == [
        "SEARCH system_logs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "USE TEMP B-TREE FOR GROUP BY",
    ]


@pytest.mark.parametrize(
    "filter",
    [
        LogFilter(since=TIME, until=TIME),
        LogFilter(timestamp_since=TIME, timestamp_until=TIME),
        LogFilter(since=TIME, timestamp_until=TIME),
    ],
)
async def test_a_range_of_time_is_a_range_of_ids(
    api: Api, explaining: Explaining, filter: LogFilter
) -> None:
    for first in range(0, 5 * BLOCK, BLOCK):
        await send(api, *(log(f"{first + n}") for n in range(BLOCK)))
    logs = SystemLogRepository(api.service.db_manager).using(explaining)
    await logs.page(filter, limit=50, after=None)
    assert explaining.plans[-1][1][0] == (
        "SEARCH l USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    )
    assert careless(explaining.steps()) == []
