"""Runs that are created at the same time are created as one, and answer as one after another."""

import json
from typing import Any

import pytest

from backend.errors import ProjectNotFound
from backend.observability.request_ids import enter_request
from backend.repositories.audit_repository import AuditFilter
from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate
from backend.schemas.runs import AgentRunCreate, RunCancel, RunClaim
from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from backend.services.principal import ADMIN, Principal, act_as
from models import RunType
from tests.support.http import new_project
from tests.support.together import at_once, together

pytestmark = pytest.mark.usefixtures("as_one")
_TIMES = {"created_at", "updated_at", "started_at", "at", "mac", "digest"}


def new_run(project_id: int, **fields: Any) -> AgentRunCreate:
    return AgentRunCreate.model_validate({"project_id": project_id, "target_text": "t", **fields})


async def three_projects(service: DatabaseService) -> None:
    """Projects with and without settings and merges; the second one has a pending run."""
    for number, merges in enumerate((True, False, True)):
        project = new_project(github_repo=f"repo-{number}", auto_merge_enabled=merges)
        await service.projects.create(ProjectCreate.model_validate(project))
    for branch in ("one", "two"):
        await service.projects.update_settings(1, ProjectSettingsUpdate(branch_name=branch))
    await service.runs.create(new_run(2))


async def contents(service: DatabaseService) -> list[dict[str, object]]:
    """All rows that runs leave, without what differs from time to time."""
    executor = service.repositories.executor
    rows = [
        *await executor.fetch_all("SELECT * FROM agent_runs ORDER BY id"),
        *await executor.fetch_all("SELECT * FROM run_queues ORDER BY project_id"),
        *await executor.fetch_all("SELECT * FROM audit_entries ORDER BY id"),
    ]
    return [{k: v for k, v in dict(row).items() if k not in _TIMES} for row in rows]


RUNS = [
    new_run(1, metadata={"b": 1, "a": [None, True]}),
    new_run(2, planning_statement="Plan.", run_type=RunType.PLAN),
    new_run(1, run_type="pr"),
    new_run(3),
    new_run(2),
    new_run(1),
]


async def test_the_rows_are_those_of_single_creates(
    service: DatabaseService, other: DatabaseService
) -> None:
    for one in (service, other):
        await three_projects(one)
    answers = await at_once(service, *map(service.runs.create_json, RUNS))
    assert together(service) == len(RUNS)
    one_by_one = [await other.runs.create_json(run) for run in RUNS]
    assert together(other) == 0
    assert await contents(service) == await contents(other)
    for answer, single in zip(answers, one_by_one, strict=True):
        assert isinstance(answer, tuple)
        assert answer[0] == single[0]
        shown = json.loads(answer[1])
        assert shown == json.loads((await service.runs.get(answer[0])).model_dump_json())
        assert shown.keys() == json.loads(single[1]).keys()
    assert verify_audit(service.db_manager, service.kit.audit.chain) is None


async def test_a_queue_with_an_older_run_keeps_its_place(service: DatabaseService) -> None:
    await three_projects(service)
    await at_once(service, *(service.runs.create(new_run(project)) for project in (2, 3, 3)))
    executor = service.repositories.executor
    rows = await executor.fetch_all("SELECT project_id, next_run_id FROM run_queues ORDER BY 1")
    assert [tuple(row) for row in rows] == [(2, 1), (3, 3)]
    claimed = await service.claims.claim(RunClaim(worker="w", count=9))
    assert [run.id for run in claimed] == [1, 3, 2, 4]
    await at_once(service, *(service.runs.create(new_run(3)) for _ in range(2)))
    assert [run.id for run in await service.claims.claim(RunClaim(worker="w"))] == [5]


async def test_a_cancelled_head_does_not_hide_new_runs(service: DatabaseService) -> None:
    await three_projects(service)
    await service.runs.cancel(1, RunCancel())
    await at_once(service, *(service.runs.create(new_run(2)) for _ in range(2)))
    assert [run.id for run in await service.claims.claim(RunClaim(worker="w"))] == [2]


async def test_each_is_checked_and_recorded_for_its_own_caller(service: DatabaseService) -> None:
    await three_projects(service)
    await service.projects.delete(3)

    async def create(name: str, project: int, ids: frozenset[int] | None = None) -> Any:
        act_as(Principal(name, frozenset({ADMIN}), project_ids=ids))
        enter_request(name, {"client": ("192.0.2.1", 1)})
        return await service.runs.create(new_run(project))

    answers = await at_once(
        service,
        create("a", 1),
        create("bound", 1, frozenset({2})),
        create("b", 3),
        create("c", 99),
        create("bound too", 2, frozenset({2})),
    )
    assert [type(answer) for answer in answers[1:4]] == [ProjectNotFound] * 3
    for refused in answers[1:4]:
        assert isinstance(refused, ProjectNotFound)
        assert refused.extra == ProjectNotFound(places=[("project_id",)]).extra
    assert together(service) == 2
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0
    page = await service.repositories.audit.page(
        AuditFilter(action="agent_run.created"), limit=2, after=None
    )
    assert [(e.actor, e.request_id, e.target) for e in reversed(page.items)] == [
        ("a", "a", "agent_runs/2"),
        ("bound too", "bound too", "agent_runs/3"),
    ]


async def test_nothing_is_left_when_none_fits(service: DatabaseService) -> None:
    answers = await at_once(service, *(service.runs.create(new_run(n)) for n in (7, 8)))
    assert [type(answer) for answer in answers] == [ProjectNotFound] * 2
    assert together(service) == 0
    executor = service.repositories.executor
    for table in ("agent_runs", "run_queues"):
        assert await executor.fetch_all(f"SELECT * FROM {table}") == []  # noqa: S608
