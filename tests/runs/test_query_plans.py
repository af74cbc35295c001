"""Every statement about runs finds its rows in the required order through an index."""

import itertools
from dataclasses import replace

import pytest

from backend.repositories import part_search
from backend.repositories.agent_run_repository import AgentRunRepository, Lease
from backend.repositories.following_index import RunIndexRepository
from backend.repositories.pipeline_state_repository import PipelineStateRepository
from backend.repositories.run_pages import RunFilter
from backend.repositories.run_queue_repository import RunQueueRepository
from database.base import TableAccess
from models import PipelineStateName, RunStatus, RunType
from tests.support.api import Api
from tests.support.plans import Explaining, is_careless

LATER = "2099-01-01T00:00:00.000000Z"


@pytest.fixture
async def explaining(api: Api) -> Explaining:
    """An executor over a database with runs in two projects."""
    # A test before this one may have made those of a shared API.
    if not (await api.get("/api/agent-runs"))["agent_runs"]:
        second = await api.new_project("second")
        for project in (1, second) * 3:
            await api.new_run(project)
    return Explaining(api.service.db_manager.async_pool)


async def test_no_statement_about_runs_scans_or_sorts(explaining: Explaining, api: Api) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    lease = Lease("w", "hash", 60, LATER)
    await runs.create({"project_id": 1, "run_number": 99, "target_text": "x"})
    await runs.update(1, {"pr_number": 7})
    await runs.get_by_id(1)
    await runs.exists(1)
    assert await runs.get_in_project(1) is not None
    assert len(await runs.pending_after(1, 0, 2)) == 2
    assert [row["id"] for row in await runs.claim({3: lease, 1: lease})] == [1, 3]
    assert len(await runs.claim({5: lease, 1: lease})) == 1
    await runs.extend_lease(1, "hash", LATER)
    assert await runs.running_leases() == [(1, 60), (3, 60), (5, 60)]
    await runs.renew_leases([(LATER, 1)])
    assert await runs.leased() == 3
    assert await runs.created_at(1) is not None
    await runs.has_expired_lease()
    await runs.expire_leases("gone", limit=10)
    for to, source in (
        (RunStatus.PAUSED, RunStatus.RUNNING),
        (RunStatus.RUNNING, RunStatus.PAUSED),
    ):
        await runs.transition(
            1, to, sources=[source], final=False, outcome={"result": "x"}, lease_expires_at=LATER
        )
    await runs.transition(
        1,
        RunStatus.COMPLETED,
        sources=[RunStatus.RUNNING, RunStatus.PENDING],
        final=True,
        outcome={},
        lease_expires_at=None,
    )
    await runs.delete(2)
    assert [step for step in explaining.steps() if is_careless(step)] == []


@pytest.mark.shared
@pytest.mark.parametrize("statuses", [(), (RunStatus.PENDING,), tuple(RunStatus)])
@pytest.mark.parametrize("run_types", [(), (RunType.REGULAR,), (RunType.PLAN, RunType.REGULAR)])
@pytest.mark.parametrize("project_ids", [(), (1,), (1, 2), tuple(range(1, 101))])
@pytest.mark.parametrize("after", [None, (5,)])
async def test_no_page_of_projects_runs_scans_or_sorts(
    explaining: Explaining,
    api: Api,
    statuses: tuple[RunStatus, ...],
    run_types: tuple[RunType, ...],
    project_ids: tuple[int, ...],
    after: tuple[int] | None,
) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    filter = RunFilter(project_ids, statuses, run_types)
    page = await runs.page(filter, sort="-created_at", limit=2, after=after)
    assert len(page.items) == min(2, 3 * len(project_ids))
    shown = await runs.json_page(filter, sort="-created_at", limit=2, after=after)
    assert len(shown.items) == len(page.items)
    assert [step for step in explaining.steps() if is_careless(step)] == []


@pytest.mark.shared
@pytest.mark.parametrize("project_ids", [None, tuple(range(1, 102))])
async def test_a_page_of_everybodys_runs_walks_the_ids_backwards(
    explaining: Explaining, api: Api, project_ids: tuple[int, ...] | None
) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    await runs.page(RunFilter(project_ids), sort="-created_at", limit=2, after=(5,))
    assert explaining.steps() == ["SEARCH agent_runs USING INTEGER PRIMARY KEY (rowid<?)"]
    await runs.page(RunFilter(project_ids), sort="-created_at", limit=2, after=None)
    assert explaining.steps() == ["SCAN agent_runs"]
    await runs.page(
        RunFilter(project_ids, (RunStatus.PENDING,)), sort="-created_at", limit=2, after=None
    )
    assert explaining.steps() == ["SEARCH agent_runs USING INDEX agent_runs_status (status=?)"]
    filter = RunFilter(project_ids, (RunStatus.PENDING,), (RunType.PLAN,))
    await runs.page(filter, sort="-created_at", limit=2, after=None)
    assert explaining.steps() == ["SEARCH agent_runs USING INDEX agent_runs_status (status=?)"]
    await runs.page(
        RunFilter(project_ids, (), (RunType.PLAN,)), sort="-created_at", limit=2, after=None
    )
    assert explaining.steps() == ["SEARCH agent_runs USING INDEX agent_runs_type (run_type=?)"]


@pytest.mark.shared
@pytest.mark.parametrize("statuses", [(), (RunStatus.PENDING,), tuple(RunStatus)])
@pytest.mark.parametrize("run_types", [(), (RunType.PLAN, RunType.REGULAR)])
@pytest.mark.parametrize("project_ids", [None, (1,), (1, 2)])
@pytest.mark.parametrize("sort", ["updated_at", "-updated_at"])
async def test_a_list_by_updated_at_walks_an_index_in_this_order(
    explaining: Explaining,
    api: Api,
    statuses: tuple[RunStatus, ...],
    run_types: tuple[RunType, ...],
    project_ids: tuple[int, ...] | None,
    sort: str,
) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    filter = RunFilter(project_ids, statuses, run_types)
    for after in (None, (LATER, 5)):
        page = await runs.page(filter, sort=sort, limit=2, after=after)
        assert len(page.items) == (0 if after and sort == "updated_at" else 2)
        steps = explaining.steps()
        assert [step for step in steps if is_careless(step)] == []
        by_project = "agent_runs_project_updated (project_id=? AND status=?"
        by_status = "agent_runs_status_updated (status=?"
        found = [step for step in steps if " INDEX " in step]
        assert found
        assert all((by_project if project_ids else by_status) in step for step in found)


@pytest.mark.shared
@pytest.mark.parametrize("statuses", [(), (RunStatus.PENDING,)])
@pytest.mark.parametrize("project_ids", [None, (1,), (1, 2)])
async def test_the_runs_of_a_worker_are_found_by_it(
    explaining: Explaining,
    api: Api,
    statuses: tuple[RunStatus, ...],
    project_ids: tuple[int, ...] | None,
) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    filter = RunFilter(project_ids, statuses, (RunType.PLAN,), worker="w")
    for after in (None, (5,)):
        await runs.page(filter, sort="-created_at", limit=2, after=after)
        [step] = explaining.steps()
        assert step.startswith("SEARCH agent_runs USING INDEX agent_runs_worker (lease_worker=?")
    await runs.page(filter, sort="updated_at", limit=2, after=None)
    assert explaining.steps() == [
        "SEARCH agent_runs USING INDEX agent_runs_worker (lease_worker=?)",
        "USE TEMP B-TREE FOR ORDER BY",
    ]


STATE = {
    "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)",
    "SCALAR SUBQUERY 1",
    "SCALAR SUBQUERY 2",
    # The greatest id is the last row of the table.
    "SEARCH agent_runs",
    # Whether it has a row.
    "SCAN run_index_removals",
}
"""How far the index has got."""


async def plans_of(
    explaining: Explaining, api: Api, filter: RunFilter, sort: str
) -> list[list[str]]:
    """The plans of a page's statements, except for the first, which reads the state."""
    explaining.plans.clear()
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    after = (5,) if sort.endswith("created_at") else (LATER, 5)
    await runs.page(filter, sort=sort, limit=2, after=after)
    first, *plans = [plan for _, plan in explaining.plans]
    assert set(first) == STATE
    return plans


async def test_a_range_of_time_is_a_range_of_ids(explaining: Explaining, api: Api) -> None:
    await api.service.run_index.index_next(4)
    every = RunFilter(None, since="2020-01-01T00:00:00.000000Z", until=LATER)
    for status, by in (
        ((), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ((RunStatus.PENDING,), "INDEX agent_runs_status (status=? AND id>? AND id<?)"),
    ):
        filter = replace(every, statuses=status)
        for sort in ("-created_at", "created_at"):
            *bisecting, page = await plans_of(explaining, api, filter, sort)
            assert len(bisecting) > 3
            for plan in bisecting:
                assert plan == ["SEARCH agent_runs USING INTEGER PRIMARY KEY (rowid>?)"]
            assert len(page) == 1
            assert page[0].startswith(f"SEARCH agent_runs USING {by[: by.index('(')]}")
    # By `updated_at`, few ids are read and sorted.
    *_, page = await plans_of(explaining, api, every, "updated_at")
    assert page == [
        "SEARCH agent_runs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "USE TEMP B-TREE FOR ORDER BY",
    ]


@pytest.mark.parametrize("sort", ["-created_at", "updated_at"])
async def test_every_combination_of_filters_reads_an_index_in_its_order(
    explaining: Explaining, api: Api, sort: str
) -> None:
    await api.service.run_index.index_next(4)
    after = (5,) if sort == "-created_at" else (LATER, 5)
    chosen = itertools.product(
        (None, (1,), (1, 2)),
        ((), (RunStatus.PENDING,), (RunStatus.PENDING, RunStatus.FAILED)),
        ((), (RunType.PLAN,), (RunType.PLAN, RunType.PR)),
        (None, "w"),
        (None, "2020-01-01T00:00:00.000000Z"),
    )
    for project_ids, statuses, run_types, worker, since in chosen:
        runs = AgentRunRepository(api.service.db_manager).using(explaining)
        filter = RunFilter(project_ids, statuses, run_types, worker, since)
        explaining.plans.clear()
        await runs.page(filter, sort=sort, limit=2, after=after)
        # The statements before it find the range of ids that fits the times.
        plan = explaining.plans[-1][1]
        careless = [step for step in plan if is_careless(step)]
        # All runs of a worker, and those of a short range of time, are read and sorted.
        may_sort = sort == "updated_at" and (worker is not None or since is not None)
        assert careless == (["USE TEMP B-TREE FOR ORDER BY"] if may_sort else []), filter
        assert any(step.startswith("SEARCH agent_runs USING ") for step in plan), filter


FILTERS = [
    RunFilter(),
    RunFilter((1, 2)),
    RunFilter(None, (RunStatus.PENDING, RunStatus.FAILED), (RunType.REGULAR,)),
    RunFilter((1,), (RunStatus.PENDING,), worker="w", until=LATER),
]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "updated_at", "-updated_at"])
async def test_a_search_for_what_few_have_reads_those_and_what_is_not_indexed(
    explaining: Explaining, api: Api, sort: str
) -> None:
    await api.service.run_index.index_next(4)
    for filter, text in itertools.product(FILTERS, ("d", "do it")):
        *_, page = await plans_of(explaining, api, replace(filter, text=text), sort)
        assert [step for step in page if " VIRTUAL TABLE INDEX " not in step] == [
            "MATERIALIZE found",
            "COMPOUND QUERY",
            "LEFT-MOST SUBQUERY",
            "UNION USING TEMP B-TREE",
            "SEARCH agent_runs USING INTEGER PRIMARY KEY (rowid>?)",
            "SCAN found",
            "SEARCH agent_runs USING INTEGER PRIMARY KEY (rowid=?)",
            "USE TEMP B-TREE FOR ORDER BY",
        ]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "updated_at", "-updated_at"])
async def test_what_many_have_is_read_in_the_order_of_the_list(
    explaining: Explaining, api: Api, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    for name in ("FEW_ROWS", "FEW_OF_SHORT_PART", "SOME_ROWS"):
        monkeypatch.setattr(part_search, name, 1)
    await api.service.run_index.index_next(4)
    for filter, text in itertools.product(FILTERS, ("d", "do it")):
        for plan in await plans_of(explaining, api, replace(filter, text=text), sort):
            own = [step for step in plan if " VIRTUAL TABLE INDEX " not in step]
            assert "SCAN agent_runs" not in own
            # What is sorted is a page, what is not indexed, or the runs of a worker.
            if "USE TEMP B-TREE FOR ORDER BY" in own and not filter.worker:
                assert {"CO-ROUTINE part1", "SCAN found"} & set(own)


async def test_the_index_follows_without_a_scan(explaining: Explaining, api: Api) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    index = RunIndexRepository.over(explaining)
    assert (await index.index_next(4, 10_000)).rows == 4
    await runs.update(1, {"target_text": "new"})
    await runs.delete(1)
    assert (await index.remove_next(5, 10_000)).rows == 1
    await index.go_back_to(4)
    await index.tidied(1)
    # The oldest removed runs.
    expected = {"SCAN run_index_removals"}
    assert {step for step in explaining.steps() if is_careless(step)} == expected


async def test_a_claim_looks_at_waiting_projects_in_the_order_of_their_turns(
    explaining: Explaining, api: Api
) -> None:
    queues = RunQueueRepository(api.service.db_manager).using(explaining)
    assert (await queues.run_defaults([1, 2, 99])).keys() == {1, 2}
    assert len(await queues.take_numbers({1: 1, 2: 3})) == 2
    await queues.enqueue(1, 1)
    await queues.set_next(1, 1)
    await queues.end_turns([1])
    await queues.end_turns([2, 1])
    steps = explaining.steps()
    assert steps.count("SEARCH run_queues USING INTEGER PRIMARY KEY (rowid=?)") >= 2
    # The rows of VALUES.
    values = ("SCAN 2 CONSTANT ROWS", "SCAN ended")
    assert [step for step in steps if is_careless(step) and step not in values] == []
    for project_ids in (None, (1, 2, 99)):
        assert len(await queues.first_waiting(project_ids, limit=2)) == 2
        steps = explaining.steps()
        assert steps[0] in (
            "SCAN q USING INDEX run_queues_waiting",
            "SCAN q USING COVERING INDEX run_queues_waiting",
        )
        assert steps[1:] == [
            "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)",
            "CORRELATED SCALAR SUBQUERY 1",
            "SEARCH r USING COVERING INDEX agent_runs_project_status (project_id=? AND status=?)",
        ]


async def test_the_backlog_is_told_without_a_look_at_all_that_waits(
    explaining: Explaining, api: Api
) -> None:
    queues = RunQueueRepository(api.service.db_manager).using(explaining)
    assert await queues.waiting() == (6, 1)
    assert explaining.steps() == [
        "SCAN q USING INDEX run_queues_waiting",
        "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH r USING COVERING INDEX agent_runs_project_status (project_id=? AND status=?)",
    ]


async def test_no_statement_about_histories_scans_or_sorts(
    explaining: Explaining, api: Api
) -> None:
    states = PipelineStateRepository(api.service.db_manager).using(explaining)
    await states.append(1, PipelineStateName.CREATED, "{}")
    await states.append(1, PipelineStateName.TESTING, "{}")
    for after in (None, (1,)):
        assert (await states.history(1, limit=1, after=after)).items
    steps = explaining.steps()
    # An INSERT … SELECT without a table is reported as the scan of a constant row.
    assert [step for step in steps if is_careless(step) and step != "SCAN CONSTANT ROW"] == []


@pytest.mark.parametrize(
    ("repository", "tried"),
    [
        (
            AgentRunRepository,
            {
                "page",
                "json_page",
                "get_in_project",
                "change",
                "columns",
                "transition",
                "pending_after",
                "claim",
                "extend_lease",
                "leased",
                "created_at",
                "running_leases",
                "renew_leases",
                "has_expired_lease",
                "expire_leases",
            },
        ),
        (
            RunQueueRepository,
            {
                "run_defaults",
                "take_numbers",
                "enqueue",
                "first_waiting",
                "waiting",
                "set_next",
                "end_turns",
            },
        ),
        (PipelineStateRepository, {"append", "history"}),
    ],
)
def test_every_statement_was_looked_at(repository: type[TableAccess], tried: set[str]) -> None:
    public = {name for name in vars(repository) if not name.startswith("_")}
    assert public - {"writable", "versioned", "defaults"} == tried
