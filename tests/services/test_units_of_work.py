"""Use cases as units: atomic, joined to larger ones, and without foreign awaits."""

import asyncio
from typing import Any

import pytest

from backend.errors import ProjectNotFound, SecretExists
from backend.schemas.projects import ProjectCreate
from backend.schemas.secrets import SecretCreate
from backend.services.base import unit_of_work
from backend.services.database_service import DatabaseService
from database.errors import DatabaseReadOnly, UnitOfWorkError
from models import Project


def project(number: int, **fields: Any) -> ProjectCreate:
    return ProjectCreate(name="n", github_owner="o", github_repo=f"r{number}", **fields)


def secret(key: str) -> SecretCreate:
    return SecretCreate.model_validate({"key": key, "value": "v"})


class Larger(DatabaseService):
    """Use cases that consist of others."""

    @unit_of_work
    async def create_two(self, second: ProjectCreate) -> list[Project]:
        """Two projects, or none."""
        return [await self.projects.create(project(1)), await self.projects.create(second)]

    @unit_of_work
    async def create_and_go_on(self) -> int:
        """A project whose second secret gets another key if the first key is taken."""
        made = await self.projects.create(project(1, secrets=[secret("A")]))
        try:
            await self.secrets.create(made.id, secret("A"))
        except SecretExists:
            await self.secrets.create(made.id, secret("B"))
        return made.id

    @unit_of_work
    async def sleep_inside(self) -> None:
        """Awaits something other than a statement."""
        await self.projects.create(project(1))
        await asyncio.sleep(0)

    @unit_of_work
    async def read_outside(self) -> None:
        """Reads outside of its own transaction."""
        await self.projects.create(project(1))
        await self.repositories.projects.count()

    @unit_of_work(read_only=True)
    async def write_while_reading(self) -> None:
        """Writes in a read-only unit."""
        await self.projects.create(project(1))


@pytest.fixture
def larger(service: DatabaseService) -> Larger:
    """The larger use cases over the test's database."""
    service.__class__ = Larger
    assert isinstance(service, Larger)
    return service


async def test_use_cases_join_the_unit_that_calls_them(larger: Larger) -> None:
    commits = larger.db_manager.async_pool.stats()["writer"]["commits"]
    made = await larger.create_two(project(2))
    assert [found.id for found in made] == [1, 2]
    assert larger.db_manager.async_pool.stats()["writer"]["commits"] == commits + 1


async def test_a_unit_that_fails_late_did_nothing(larger: Larger) -> None:
    bad = project(2, secrets=[secret("A")])
    bad.secrets.append(secret("A"))
    with pytest.raises(SecretExists):
        await larger.create_two(bad)
    assert await larger.repositories.projects.count() == 0
    assert (await larger.create_two(project(2)))[0].github_repo == "r1"


async def test_a_step_that_fails_can_be_gone_on_from(larger: Larger) -> None:
    id = await larger.create_and_go_on()
    listed = await larger.secrets.page(id, limit=9, cursor=None)
    assert [item.key for item in listed.secrets] == ["B", "A"]


@pytest.mark.parametrize("method", ["sleep_inside", "read_outside"])
async def test_a_unit_awaits_nothing_but_its_statements(larger: Larger, method: str) -> None:
    with pytest.raises(UnitOfWorkError):
        await getattr(larger, method)()
    assert await larger.repositories.projects.count() == 0
    assert (await larger.projects.create(project(1))).github_repo == "r1"


async def test_a_reading_unit_can_not_write(larger: Larger) -> None:
    with pytest.raises(DatabaseReadOnly):
        await larger.write_while_reading()
    assert await larger.repositories.projects.count() == 0


async def test_a_transaction_outside_of_a_unit_is_whole_too(service: DatabaseService) -> None:
    async def break_off() -> None:
        async with service.transaction() as repositories:
            await repositories.projects.create(
                {"name": "n", "github_owner": "o", "github_repo": "r"}
            )
            raise ProjectNotFound

    with pytest.raises(ProjectNotFound):
        await break_off()
    assert await service.repositories.projects.count() == 0
