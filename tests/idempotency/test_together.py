"""Requests with keys that wait at the same time run as one, as they do without keys."""

from functools import partial
from typing import Any

import pytest

from backend.errors import ProjectExists
from backend.schemas.projects import ProjectCreate
from backend.services.database_service import DatabaseService
from backend.services.idempotency.answer_sealing import Answer
from backend.services.idempotency.idempotency import Request, request_hash
from tests.services.left_rows import assert_recorded
from tests.support.http import new_project
from tests.support.together import at_once, together

pytestmark = pytest.mark.usefixtures("as_one")


def request(number: int, route: str = "POST /api/projects") -> Request:
    parts = (b"POST", b"/api/projects", b"", b"")
    return Request(b"%016d" % number, request_hash(*parts, b"%d" % number), route, "admin", {})


async def create(service: DatabaseService, project: ProjectCreate) -> Answer:
    """What the endpoint does."""
    id, json = await service.projects.create_json(project)
    return Answer(201, [(b"location", b"/api/projects/%d" % id)], json)


def body(repo: str, **fields: Any) -> ProjectCreate:
    return ProjectCreate.model_validate(new_project(github_repo=repo, **fields))


async def test_creates_run_as_one_and_each_answer_is_stored(service: DatabaseService) -> None:
    makes = [partial(create, service, body(f"r{number}")) for number in range(5)]
    once = service.idempotency
    found = await at_once(service, *(once.answer(request(n), make) for n, make in enumerate(makes)))
    assert found == [None] * 5
    assert together(service) == 5
    assert_recorded(service)
    rows = service.db_manager.execute_query("SELECT * FROM stored_answers ORDER BY id")
    assert [row["project_id"] for row in rows] == [1, 2, 3, 4, 5]
    again = [await once.answer(request(n), make) for n, make in enumerate(makes)]
    for number, answer in enumerate(again, 1):
        assert answer is not None
        assert answer.headers == [(b"location", b"/api/projects/%d" % number)]
        assert answer.body == await service.projects.get_json(number)
    assert await service.repositories.projects.count() == 5


async def test_what_is_unusual_runs_on_its_own(service: DatabaseService) -> None:
    once = service.idempotency
    await once.answer(request(0), partial(create, service, body("first")))

    async def fails() -> Answer:
        raise ValueError("before any use case")

    found = await at_once(
        service,
        once.answer(request(0), partial(create, service, body("first"))),
        once.answer(request(1), partial(create, service, body("FIRST"))),
        once.answer(request(2), fails),
        once.answer(request(3), partial(create, service, body("new"))),
        once.answer(request(4), partial(create, service, body("other"))),
        once.answer(request(4), partial(create, service, body("other"))),
    )
    assert isinstance(found[0], Answer)
    assert isinstance(found[1], ProjectExists)
    assert isinstance(found[2], ValueError)
    assert found[3:5] == [None, None]
    assert isinstance(found[5], Answer)
    assert await service.repositories.projects.count() == 3
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0
    assert_recorded(service)


async def test_a_call_that_fails_after_its_use_case_has_no_effect(
    service: DatabaseService,
) -> None:
    async def fails() -> Answer:
        await create(service, body("broken"))
        raise ValueError("after it")

    once = service.idempotency
    found = await at_once(
        service,
        once.answer(request(1), partial(create, service, body("a"))),
        once.answer(request(2), fails),
        once.answer(request(3), partial(create, service, body("b"))),
    )
    assert (found[0], found[2]) == (None, None)
    assert isinstance(found[1], ValueError)
    names = service.db_manager.execute_query("SELECT github_repo FROM projects ORDER BY 1")
    assert [row["github_repo"] for row in names] == ["a", "b"]
    rows = service.db_manager.execute_query("SELECT key_mac FROM stored_answers ORDER BY 1")
    assert [row["key_mac"] for row in rows] == [b"%016d" % 1, b"%016d" % 3]


async def test_requests_of_different_routes_run_apart(service: DatabaseService) -> None:
    once = service.idempotency
    await at_once(
        service,
        once.answer(request(1, "POST /a"), partial(create, service, body("a"))),
        once.answer(request(2, "POST /b"), partial(create, service, body("b"))),
    )
    assert together(service) == 0
