"""Claims that wait at the same time get the runs that they would get one after another."""

import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from backend.observability.request_ids import enter_request
from backend.repositories.audit_repository import AuditFilter
from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate
from backend.schemas.runs import AgentRunCreate, RunCancel, RunClaim, RunHeartbeat
from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from backend.services.principal import ADMIN, Principal, act_as
from models import RunStatus
from tests.support.http import new_project
from tests.support.together import at_once, together

pytestmark = pytest.mark.usefixtures("as_one")


async def set_up(service: DatabaseService, *runs: int) -> None:
    """A project for each number, with as many pending runs."""
    for number, count in enumerate(runs, 1):
        project = new_project(github_repo=f"repo-{number}")
        await service.projects.create(ProjectCreate.model_validate(project))
        for _ in range(count):
            run = {"project_id": number, "target_text": "t", "metadata": {"n": number}}
            await service.runs.create(AgentRunCreate.model_validate(run))


async def claim(service: DatabaseService, worker: str = "w", **fields: Any) -> list[int]:
    """The ids of the claimed runs."""
    enter_request(worker, {"client": ("192.0.2.1", 1)})
    body = {"worker": worker, **fields}
    return [run.id for run in await service.claims.claim(RunClaim.model_validate(body))]


async def claim_for(service: DatabaseService, *ids: int) -> list[int]:
    act_as(Principal("bound", frozenset({ADMIN}), project_ids=frozenset(ids)))
    return await claim(service)


async def queues(service: DatabaseService) -> list[tuple[object, ...]]:
    """All queues, with their order instead of the numbers of their turns."""
    rows = await service.repositories.executor.fetch_all(
        "SELECT project_id, last_run_number, next_run_id, pending_runs,"
        " dense_rank() OVER (ORDER BY claim_turn) FROM run_queues ORDER BY project_id"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("seed", range(6))
async def test_the_runs_and_turns_are_those_of_single_claims(
    service: DatabaseService, other: DatabaseService, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    sizes = [chance.randint(0, 4) for _ in range(5)]
    first = [chance.randint(1, 5) for _ in range(2)]
    cancelled = chance.sample(range(1, 1 + sum(sizes)), min(2, sum(sizes)))
    for one in (service, other):
        await set_up(one, *sizes)
        for project in first:
            await claim(one, project_ids=[project])
        for run in cancelled:
            if (await one.runs.get(run)).status is RunStatus.PENDING:
                await one.runs.cancel(run, RunCancel())
    count = chance.randint(2, 14)
    answers = await at_once(service, *(claim(service) for _ in range(count)))
    assert answers == [await claim(other) for _ in range(count)]
    assert await queues(service) == await queues(other)
    assert together(other) == 0
    assert verify_audit(service.db_manager, service.kit.audit.chain) is None


async def test_each_has_its_own_lease_and_entry(service: DatabaseService) -> None:
    await set_up(service, 2, 1)

    async def own(name: str, seconds: int) -> Any:
        act_as(Principal(name, frozenset({ADMIN})))
        enter_request(name, {"client": ("192.0.2.1", 1)})
        return await service.claims.claim(RunClaim(worker=name, lease_seconds=seconds))

    answers = await at_once(service, own("a", 10), own("b", 3600), own("c", 60), own("d", 5))
    assert together(service) == 3
    assert answers[3] == []
    claimed = [answer[0] for answer in answers[:3] if not isinstance(answer, BaseException)]
    assert [run.id for run in claimed] == [1, 3, 2]
    assert len({run.lease_token for run in claimed}) == 3
    for run, name, seconds in zip(claimed, "abc", (10, 3600, 60), strict=True):
        stored = await service.runs.get(run.id)
        assert (stored.lease_worker, stored.lease_seconds) == (name, seconds)
        assert (stored.status, stored.version) == (RunStatus.RUNNING, 2)
        shown = stored.model_dump() | {"lease_expires_at": stored.lease_expires_at}
        assert run.model_dump() == shown | {"lease_token": run.lease_token}
        beat = await service.claims.heartbeat(run.id, RunHeartbeat(lease_token=run.lease_token))
        assert beat.id == run.id
    page = await service.repositories.audit.page(
        AuditFilter(action="agent_run.claimed"), limit=9, after=None
    )
    assert [(e.actor, e.request_id, e.target, e.version) for e in reversed(page.items)] == [
        ("a", "a", "agent_runs/1", 2),
        ("b", "b", "agent_runs/3", 2),
        ("c", "c", "agent_runs/2", 2),
    ]


async def test_each_gets_only_what_it_may_have(service: DatabaseService) -> None:
    await set_up(service, 2, 2, 2)
    answers = await at_once(
        service,
        claim_for(service, 2),
        claim(service, project_ids=[3]),
        claim(service, count=2),
        claim_for(service, 2),
        claim(service, project_ids=[3, 3]),
        claim_for(service, 2),
        claim_for(service),
    )
    assert answers == [[3], [5], [1, 2], [4], [6], [], []]
    assert together(service) == 4


async def test_expired_leases_are_taken_back_first(timed: DatabaseService, clock: Any) -> None:
    await set_up(timed, 2)
    [first] = await claim(timed, lease_seconds=1)
    clock.now += timedelta(seconds=2)
    answers = await at_once(timed, *(claim(timed) for _ in range(3)))
    assert answers == [[first], [2], []]
    assert timed.claims.expired_leases == {"requeued": 1}


async def test_a_forged_project_gives_none_and_the_others_do(
    service: DatabaseService, caplog: pytest.LogCaptureFixture
) -> None:
    await set_up(service, 2, 2)
    await service.projects.update_settings(1, ProjectSettingsUpdate(branch_name="b"))
    await service.repositories.executor.execute(
        "UPDATE project_settings SET setup_commands = 'x' WHERE project_id = 1"
    )
    answers = await at_once(service, *(claim(service) for _ in range(3)))
    assert answers == [[3], [4], []]
    assert together(service) == 0
    [record] = [record for record in caplog.records if record.name == "strongroom.leases"]
    assert record.getMessage().startswith("runs of project 1 are not given to workers: it or its")


async def test_a_run_that_cannot_be_stored_again_holds_up_no_other(
    service: DatabaseService,
) -> None:
    await set_up(service, 1, 1, 1)
    with closing(sqlite3.connect(service.db_manager.config.path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE agent_runs SET started_at = 'x' WHERE id = 2")
    answers = await at_once(service, *(claim(service) for _ in range(3)))
    assert answers == [[1], [3], []]
    assert together(service) == 0
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0


@pytest.mark.parametrize("stored", ["[1]", "{", '"x"'])
async def test_a_damaged_run_is_shown_as_everywhere(service: DatabaseService, stored: str) -> None:
    await set_up(service, 2)
    await service.repositories.executor.execute(
        "UPDATE agent_runs SET metadata = ? WHERE id = 1", (stored,)
    )
    answers = await at_once(
        service, *(service.claims.claim(RunClaim(worker="w")) for _ in range(2))
    )
    damaged, other = [answer[0] for answer in answers if not isinstance(answer, BaseException)]
    assert (damaged.id, damaged.metadata) == (1, {})
    assert (other.id, other.metadata) == (2, {"n": 1})
    assert damaged.lease_token != other.lease_token
