"""Every statement about runs finds its rows in the required order through an index."""

import pytest

from backend.repositories.agent_run_repository import AgentRunRepository, Lease, RunFilter
from backend.repositories.pipeline_state_repository import PipelineStateRepository
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
    await runs.oldest_pending(1)
    assert len(await runs.pending_after(1, 0, 2)) == 2
    await runs.claim(1, lease)
    await runs.extend_lease(1, "hash", LATER)
    assert await runs.running_leases() == [(1, 60)]
    await runs.renew_leases([(LATER, 1)])
    assert await runs.leased() == 1
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
    page = await runs.page(filter, limit=2, after=after)
    assert len(page.items) == min(2, 3 * len(project_ids))
    shown = await runs.json_page(filter, limit=2, after=after)
    assert len(shown.items) == len(page.items)
    assert [step for step in explaining.steps() if is_careless(step)] == []


@pytest.mark.shared
@pytest.mark.parametrize("project_ids", [None, tuple(range(1, 102))])
async def test_a_page_of_everybodys_runs_walks_the_ids_backwards(
    explaining: Explaining, api: Api, project_ids: tuple[int, ...] | None
) -> None:
    runs = AgentRunRepository(api.service.db_manager).using(explaining)
    await runs.page(RunFilter(project_ids), limit=2, after=(5,))
    assert explaining.steps() == ["SEARCH agent_runs USING INTEGER PRIMARY KEY (rowid<?)"]
    await runs.page(RunFilter(project_ids), limit=2, after=None)
    assert explaining.steps() == ["SCAN agent_runs"]
    await runs.page(RunFilter(project_ids, (RunStatus.PENDING,)), limit=2, after=None)
    assert explaining.steps() == ["SEARCH agent_runs USING INDEX agent_runs_status (status=?)"]
    filter = RunFilter(project_ids, (RunStatus.PENDING,), (RunType.PLAN,))
    await runs.page(filter, limit=2, after=None)
    assert explaining.steps() == ["SEARCH agent_runs USING INDEX agent_runs_status (status=?)"]
    await runs.page(RunFilter(project_ids, (), (RunType.PLAN,)), limit=2, after=None)
    assert explaining.steps() == ["SEARCH agent_runs USING INDEX agent_runs_type (run_type=?)"]


async def test_a_claim_looks_at_waiting_projects_in_the_order_of_their_turns(
    explaining: Explaining, api: Api
) -> None:
    queues = RunQueueRepository(api.service.db_manager).using(explaining)
    await queues.next_number(1)
    await queues.enqueue(1, 1)
    await queues.set_next(1, 1)
    await queues.end_turn(1, 3)
    assert [step for step in explaining.steps() if is_careless(step)] == []
    for project_ids in (None, (1, 2, 99)):
        assert len(await queues.first_waiting(project_ids, limit=2)) == 2
        steps = explaining.steps()
        assert steps[0] in (
            "SCAN q USING INDEX run_queues_waiting",
            "SCAN q USING COVERING INDEX run_queues_waiting",
        )
        assert steps[1:] == ["SEARCH p USING INTEGER PRIMARY KEY (rowid=?)"]


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
                "transition",
                "oldest_pending",
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
            {"next_number", "enqueue", "first_waiting", "waiting", "set_next", "end_turn"},
        ),
        (PipelineStateRepository, {"append", "history"}),
    ],
)
def test_every_statement_was_looked_at(repository: type[TableAccess], tried: set[str]) -> None:
    public = {name for name in vars(repository) if not name.startswith("_")}
    assert public - {"writable", "versioned", "defaults"} == tried
