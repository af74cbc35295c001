"""Creates that wait at the same time run as one, and answer as they would one after another."""

from typing import Any

import pytest

from backend.errors import Forbidden, ProjectExists, Unauthenticated
from backend.observability.request_ids import enter_request
from backend.repositories.audit_repository import AuditFilter
from backend.schemas.projects import ProjectCreate
from backend.services.database_service import DatabaseService
from backend.services.principal import ADMIN, Principal, act_as
from database.errors import CheckViolation, DatabaseFull
from tests.services.left_rows import assert_recorded, contents
from tests.support.http import new_project
from tests.support.plans import Explaining, is_careless
from tests.support.together import at_once, together

pytestmark = pytest.mark.usefixtures("as_one")
WRITER = Principal("writer", frozenset({"projects:write"}))
BOUND = Principal("bound", frozenset({ADMIN}), project_ids=frozenset({1}))


def body(repo: str, **fields: Any) -> ProjectCreate:
    return ProjectCreate.model_validate(new_project(github_repo=repo, **fields))


def secrets(*values: str) -> list[dict[str, str]]:
    return [{"key": f"KEY_{number}", "value": value} for number, value in enumerate(values)]


PROJECTS = [
    body("plain"),
    body("with-settings", settings={"branch_name": "next", "planning_statement": "Plan."}),
    body("with-secrets", secrets=secrets("one", "two"), status="inactive"),
    body("all", webhook_url="https://example.com/", settings={}, secrets=secrets("three")),
]


async def test_the_rows_are_those_of_single_creates(
    service: DatabaseService, other: DatabaseService
) -> None:
    answers = await at_once(service, *map(service.projects.create_json, PROJECTS))
    assert together(service) == len(PROJECTS)
    one_by_one = [await other.projects.create_json(project) for project in PROJECTS]
    assert together(other) == 0
    assert await contents(service) == await contents(other)
    for answer, single in zip(answers, one_by_one, strict=True):
        assert isinstance(answer, tuple)
        assert answer[0] == single[0]
    for id, json in answers:  # type: ignore[misc]
        assert json == await service.projects.get_json(id)
    assert (await service.secrets.reveal(3, "KEY_1")).value == "two"
    assert (await service.secrets.reveal(4, "KEY_0")).value == "three"
    assert_recorded(service)


async def test_a_repository_that_is_taken_is_refused_with_its_holder(
    service: DatabaseService,
) -> None:
    holder = await service.projects.create(body("taken"))
    deleted = await service.projects.create(body("free"))
    await service.projects.delete(deleted.id)
    answers = await at_once(
        service,
        *map(service.projects.create, map(body, ("new", "TAKEN", "free", "new", "New", "last"))),
    )
    ids = [a.extra["existing_id"] if isinstance(a, ProjectExists) else None for a in answers]
    new = answers[0]
    assert not isinstance(new, BaseException)
    assert ids == [None, holder.id, None, new.id, new.id, None]
    assert together(service) == 3
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0
    assert_recorded(service)


async def test_each_is_checked_and_recorded_for_its_own_caller(service: DatabaseService) -> None:
    async def create(principal: Principal, request_id: str, project: ProjectCreate) -> object:
        act_as(principal)
        enter_request(request_id, {"client": (f"192.0.2.{request_id}", 1)})
        return await service.projects.create(project)

    answers = await at_once(
        service,
        create(WRITER, "1", body("one")),
        create(WRITER, "2", body("two", secrets=secrets("not allowed"))),
        create(BOUND, "3", body("three")),
        create(Principal("other", frozenset({ADMIN})), "4", body("four", secrets=secrets("x"))),
    )
    assert [type(answer) for answer in answers][1:3] == [Forbidden, Forbidden]
    assert together(service) == 2
    page = await service.repositories.audit.page(
        AuditFilter(action="project.created"), limit=10, after=None
    )
    assert [(e.actor, e.request_id, e.address) for e in reversed(page.items)] == [
        ("writer", "1", "192.0.2.1"),
        ("other", "4", "192.0.2.4"),
    ]


async def test_a_caller_whose_token_has_ended_is_refused_alone(service: DatabaseService) -> None:
    class Gate:
        def may_have_ended(self, principal: Principal) -> bool:
            return principal.name == "ended"

        async def require_valid(self, _: Principal) -> None:
            raise Unauthenticated

    async def create(name: str, repo: str) -> object:
        act_as(Principal(name, frozenset({ADMIN})))
        return await service.projects.create(body(repo))

    service.kit.gate = Gate()
    answers = await at_once(
        service, create("a", "one"), create("ended", "two"), create("b", "three")
    )
    assert isinstance(answers[1], Unauthenticated)
    assert together(service) == 2
    assert [e["github_repo"] for e in await contents(service) if e.get("table") == "projects"] == [
        "one",
        "three",
    ]


async def test_ids_that_are_in_the_record_are_left_out(service: DatabaseService) -> None:
    purged = [await service.projects.create(body(f"purged-{n}")) for n in range(3)]
    for project in purged:
        await service.projects.purge(project.id)
    await service.repositories.executor.execute("DELETE FROM sqlite_sequence")
    answers = await at_once(service, *map(service.projects.create, map(body, "ab")))
    assert [a.id for a in answers if not isinstance(a, BaseException)] == [5, 6]
    assert_recorded(service)


@pytest.mark.parametrize("error", [CheckViolation("refused"), DatabaseFull("no room")])
async def test_if_the_record_fails_nothing_is_created(
    service: DatabaseService, error: Exception
) -> None:
    async def fail(*_: object) -> None:
        raise error

    journal = service.db_manager.async_pool.journal
    write, journal.write_entries = journal.write_entries, fail
    answers = await at_once(service, *map(service.projects.create, map(body, "ab")))
    assert all(isinstance(answer, Exception) for answer in answers)
    journal.write_entries = write
    assert await contents(service) == []
    await at_once(service, *map(service.projects.create, map(body, "ab")))
    assert together(service) == 4
    assert_recorded(service)


async def test_taken_repositories_are_found_by_their_index(service: DatabaseService) -> None:
    plans = Explaining(service.db_manager.async_pool)
    projects = service.repositories.projects.using(plans)
    await service.projects.create(body("Taken", github_owner="O"))
    keys = [("o", "taken"), ("o", "free"), ("p", "taken")]
    assert await projects.taken(keys) == {("o", "taken")}
    steps = plans.steps()
    assert [step for step in steps if is_careless(step) and "projects" in step] == []
    assert any("projects_repository (owner_key=? AND repo_key=?)" in step for step in steps)
