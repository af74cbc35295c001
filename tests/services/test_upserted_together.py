"""Upserts that wait at the same time run as one, and answer as they would one after another."""

from collections.abc import Sequence

import pytest

from backend.errors import InvalidField, ProjectNotFound
from backend.observability.request_ids import enter_request
from backend.repositories.audit_repository import AuditFilter
from backend.schemas.projects import ProjectCreate
from backend.schemas.secrets import SecretsUpsert, SecretUpsertResult
from backend.services.database_service import DatabaseService
from backend.services.principal import ADMIN, Principal, act_as
from tests.services.left_rows import assert_recorded, contents
from tests.support.http import new_project
from tests.support.together import at_once, together

pytestmark = pytest.mark.usefixtures("as_one")
BOUND = Principal("bound", frozenset({ADMIN}), project_ids=frozenset({1}))
Upsert = tuple[int, dict[str, str | None]]


async def prepare(service: DatabaseService) -> None:
    """Four projects, of which the third has no secret, and so no key, and the last is deleted."""
    for number in range(1, 5):
        given = [{"key": "OLD", "value": f"old {number}"}] if number != 3 else []
        body = new_project(name="P", github_repo=f"r{number}", secrets=given)
        await service.projects.create(ProjectCreate.model_validate(body))
    await service.projects.delete(4)


async def upsert(service: DatabaseService, one: Upsert) -> SecretUpsertResult:
    project_id, values = one
    secrets = [
        {"key": key, "value": value} | ({"version": 1} if value is None else {})
        for key, value in values.items()
    ]
    body = SecretsUpsert.model_validate({"secrets": secrets})
    return await service.secrets.upsert(project_id, body.secrets)


async def values_of(service: DatabaseService, project_id: int, keys: Sequence[str]) -> list[str]:
    return [(await service.secrets.reveal(project_id, key)).value for key in keys]


UPSERTS: list[Upsert] = [
    (1, {"NEW": "n", "OLD": "newer"}),
    (2, {"OLD": "old 2"}),
    (2, {"OLD": "newer"}),
    (4, {"OLD": "of a deleted project"}),
    (3, {"FIRST": "needs a key"}),
    (2, {"OLD": None, "OTHER": "o"}),
    (1, {"ABSENT": None}),
    (9, {"OLD": "of no project"}),
    (1, {"OLD": "newest"}),
]


async def test_they_do_what_single_ones_do(
    service: DatabaseService, other: DatabaseService
) -> None:
    await prepare(service)
    await prepare(other)
    answers = await at_once(service, *(upsert(service, one) for one in UPSERTS))
    assert together(service) == 2
    one_by_one: list[object] = []
    for one in UPSERTS:
        try:
            one_by_one.append(await upsert(other, one))
        except (ProjectNotFound, InvalidField) as error:
            one_by_one.append(type(error))
    assert [type(a) if isinstance(a, Exception) else a for a in answers] == one_by_one
    for running in (service, other):
        assert await values_of(running, 1, ["NEW", "OLD"]) == ["n", "newest"]
        assert await values_of(running, 2, ["OLD", "OTHER"]) == ["newer", "o"]
        assert await values_of(running, 3, ["FIRST"]) == ["needs a key"]
        assert_recorded(running)
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0


async def test_the_rows_are_those_of_single_upserts(
    service: DatabaseService, other: DatabaseService
) -> None:
    await prepare(service)
    await prepare(other)
    upserts: list[Upsert] = [
        (2, {"OLD": "newer", "NEW": "n"}),
        (1, {"NEW": "n", "OLD": "old 1"}),
    ]
    answers = await at_once(service, *(upsert(service, one) for one in upserts))
    assert together(service) == len(upserts)
    assert answers == [await upsert(other, one) for one in upserts]
    assert await contents(service) == await contents(other)


async def test_each_is_recorded_for_its_own_caller(service: DatabaseService) -> None:
    async def sent(principal: Principal, request_id: str, one: Upsert) -> SecretUpsertResult:
        act_as(principal)
        enter_request(request_id, {"client": (f"192.0.2.{request_id}", 1)})
        return await upsert(service, one)

    await prepare(service)
    answers = await at_once(
        service,
        sent(BOUND, "1", (1, {"OLD": "a", "NEW": "b"})),
        sent(BOUND, "2", (2, {"OLD": "not allowed"})),
        sent(Principal("other", frozenset({ADMIN})), "3", (2, {"OLD": "c"})),
        sent(Principal("third", frozenset({ADMIN})), "4", (3, {"NEW": "d"})),
    )
    assert isinstance(answers[1], ProjectNotFound)
    page = await service.repositories.audit.page(
        AuditFilter(action="secret.updated"), limit=10, after=None
    )
    assert [(e.actor, e.request_id, e.address, e.target) for e in reversed(page.items)] == [
        ("bound", "1", "192.0.2.1", "projects/1/secrets/OLD"),
        ("other", "3", "192.0.2.3", "projects/2/secrets/OLD"),
    ]
    assert_recorded(service)


@pytest.mark.parametrize("value", ["newer", "old 2"])
async def test_a_forged_row_is_replaced_among_others(service: DatabaseService, value: str) -> None:
    await prepare(service)
    await service.repositories.executor.execute(
        "UPDATE project_secrets SET version = 7 WHERE project_id = 2"
    )
    answers = await at_once(
        service, upsert(service, (1, {"OLD": "newer"})), upsert(service, (2, {"OLD": value}))
    )
    assert together(service) == 2
    assert answers == [SecretUpsertResult(created=0, updated=1, unchanged=0)] * 2
    assert await values_of(service, 2, ["OLD"]) == [value]
    assert_recorded(service)
