"""What every repository does, shown on the one for projects."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backend.repositories import Repositories
from backend.repositories.project_repository import ProjectRepository
from database.base import encode, json_text, time_text, utc_now
from database.connection_manager import DatabaseManager
from database.errors import CheckViolation, ForeignKeyViolation, IntegrityError, InvalidValue
from models import Project, ProjectStatus
from tests.support.clocks import SetClock


def fields(number: int = 1, **changed: Any) -> dict[str, Any]:
    return {"name": f"P{number}", "github_owner": "o", "github_repo": f"r{number}", **changed}


async def test_a_created_row_has_its_times_and_its_first_version(
    repositories: Repositories, clock: SetClock
) -> None:
    project = await repositories.projects.create(fields())
    assert isinstance(project, Project)
    assert (project.id, project.version) == (1, 1)
    assert project.created_at == project.updated_at == clock.text() == "2026-01-31T12:00:00.000000Z"
    assert await repositories.projects.get_by_id(1) == project


async def test_a_missing_row_is_none_or_false(repositories: Repositories) -> None:
    projects = repositories.projects
    assert await projects.get_by_id(1) is None
    assert await projects.update(1, {"name": "x"}) is None
    assert await projects.update(1, {}) is None
    assert await projects.delete(1) is False
    assert await projects.exists(1) is False
    assert await projects.count() == 0
    assert await projects.list() == []


async def test_an_update_sets_what_is_given_and_counts(
    repositories: Repositories, project: Project, clock: SetClock
) -> None:
    later = clock.advance()
    changed = await repositories.projects.update(
        project.id, {"auto_merge_enabled": True, "status": ProjectStatus.ARCHIVED}
    )
    assert changed == project.model_copy(
        update={
            "auto_merge_enabled": True,
            "status": ProjectStatus.ARCHIVED,
            "updated_at": later,
            "version": 2,
        }
    )
    assert await repositories.projects.get_by_id(project.id) == changed


async def test_an_update_of_nothing_changes_nothing(
    repositories: Repositories, project: Project, clock: SetClock
) -> None:
    clock.advance()
    assert await repositories.projects.update(project.id, {}) == project


async def test_a_deleted_row_is_gone(repositories: Repositories, project: Project) -> None:
    assert await repositories.projects.exists(project.id) is True
    assert await repositories.projects.delete(project.id) is True
    assert await repositories.projects.exists(project.id) is False
    assert await repositories.projects.delete(project.id) is False


async def test_a_list_is_newest_first_and_goes_on_before_an_id(repositories: Repositories) -> None:
    for number in range(5):
        await repositories.projects.create(fields(number))
    ids = [project.id for project in await repositories.projects.list(2)]
    assert ids == [5, 4]
    ids = [project.id for project in await repositories.projects.list(2, before_id=4)]
    assert ids == [3, 2]
    assert len(await repositories.projects.list()) == await repositories.projects.count() == 5


@pytest.mark.parametrize("name", ["id", "version", "created_at", "name_key", "x; DROP TABLE"])
async def test_a_column_that_is_not_settable_is_refused(
    repositories: Repositories, project: Project, name: str
) -> None:
    with pytest.raises(InvalidValue):
        await repositories.projects.create(fields(2, **{name: 1}))
    with pytest.raises(InvalidValue):
        await repositories.projects.update(project.id, {name: 1})
    assert await repositories.projects.list() == [project]


async def test_constraints_refuse_what_is_no_row(
    repositories: Repositories, project: Project
) -> None:
    for wrong in ({"status": "unheard-of"}, {"name": ""}, {"auto_merge_enabled": 2}):
        with pytest.raises(CheckViolation):
            await repositories.projects.create(fields(2, **wrong))
        with pytest.raises(IntegrityError):
            await repositories.projects.update(project.id, wrong)
    with pytest.raises(ForeignKeyViolation):
        await repositories.settings.create({"project_id": 99})
    assert await repositories.projects.list() == [project]


async def test_a_repository_can_work_in_a_transaction(
    repositories: Repositories, manager: DatabaseManager
) -> None:
    async with manager.async_transaction() as tx:
        bound = repositories.projects.using(tx)
        made = await bound.create(fields())
        assert await bound.get_by_id(made.id) == made
        assert await repositories.projects.get_by_id(made.id) is None
        assert await repositories.using(tx).projects.exists(made.id) is True
    assert await repositories.projects.get_by_id(made.id) == made


async def test_a_transaction_that_breaks_off_leaves_nothing(
    repositories: Repositories, manager: DatabaseManager
) -> None:
    async def break_off() -> None:
        async with manager.async_transaction() as tx:
            await repositories.using(tx).projects.create(fields())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_off()
    assert await repositories.projects.count() == 0


async def test_without_a_manager_the_one_that_is_open_is_meant(manager: DatabaseManager) -> None:
    made = await ProjectRepository().create(fields())
    assert await ProjectRepository(manager).get_by_id(made.id) == made


def test_without_an_open_manager_there_is_no_repository() -> None:
    with pytest.raises(LookupError):
        ProjectRepository()


async def test_many_at_once_each_have_their_row(repositories: Repositories) -> None:
    made = await asyncio.gather(*(repositories.projects.create(fields(n)) for n in range(50)))
    assert sorted(project.id for project in made) == list(range(1, 51))


ZONE = timezone(timedelta(hours=-5, minutes=-30))


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ("text", "text"),
        (7, 7),
        (True, 1),
        (False, 0),
        (1.5, 1.5),
        (b"x", b"x"),
        (ProjectStatus.ACTIVE, "active"),
        (datetime(2026, 1, 1, 5, 30, tzinfo=ZONE), "2026-01-01T11:00:00.000000Z"),
        ({"b": [1, None], "a": "\u00e9"}, '{"b":[1,null],"a":"\u00e9"}'),
        ([], "[]"),
    ],
)
def test_values_are_stored_in_one_way(value: object, stored: object) -> None:
    assert encode(value) == stored
    assert type(encode(value)) is type(stored)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        object(),
        {1, 2},
        (1, 2),
        {"x": float("nan")},
        {"x": object()},
        datetime(2026, 1, 1),  # noqa: DTZ001
        datetime.max.replace(tzinfo=ZONE),
    ],
)
def test_other_values_are_not(value: object) -> None:
    with pytest.raises(InvalidValue):
        encode(value)


def test_json_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue):
        json_text(endless)


def test_times_sort_as_their_texts() -> None:
    times = [datetime(1, 1, 1, tzinfo=UTC), datetime(999, 12, 31, tzinfo=UTC), utc_now()]
    texts = [time_text(time) for time in times]
    assert texts == sorted(texts)
    assert {len(text) for text in texts} == {27}
