"""The table of projects: look-ups, pages, and which project has a repository."""

import asyncio
import itertools
from typing import Any

import pytest

from backend.errors import ProjectExists
from backend.repositories import Repositories
from backend.repositories.part_search import contains
from backend.repositories.project_pages import ProjectFilter
from database.connection_manager import DatabaseManager
from models import Project, ProjectStatus
from tests.repositories.project_keys import add_key
from tests.support.clocks import SetClock


def fields(repo: str, **changed: Any) -> dict[str, Any]:
    return {"name": repo.title(), "github_owner": "acme", "github_repo": repo, **changed}


@pytest.mark.parametrize(
    ("owner", "repo"), [("Acme", "Payments"), ("acme", "payments"), ("ACME", "pAYMENTS")]
)
async def test_a_repository_is_found_in_any_case(
    repositories: Repositories, project: Project, owner: str, repo: str
) -> None:
    assert await repositories.projects.get_by_github_repo(owner, repo) == project


async def test_other_repositories_have_no_project(
    repositories: Repositories, project: Project
) -> None:
    for owner, repo in (("acme", "other"), ("other", "payments"), ("%", "%"), ("", "")):
        assert await repositories.projects.get_by_github_repo(owner, repo) is None
    await repositories.projects.soft_delete(project.id)
    assert await repositories.projects.get_by_github_repo("acme", "payments") is None


async def test_a_repository_that_is_taken_names_its_project(
    repositories: Repositories, project: Project
) -> None:
    other = await repositories.projects.create(fields("other"))
    with pytest.raises(ProjectExists) as caught:
        await repositories.projects.create(fields("PAYMENTS"))
    assert caught.value.extra == {"existing_id": project.id}
    for change in (
        {"github_repo": "PAYMENTS"},
        {"github_repo": "payments", "github_owner": "ACME"},
        {"github_repo": "payments", "name": "x", "status": "inactive"},
    ):
        with pytest.raises(ProjectExists) as caught:
            await repositories.projects.update(other.id, change)
        assert caught.value.extra == {"existing_id": project.id}
    assert await repositories.projects.get_by_id(other.id) == other
    await repositories.projects.soft_delete(other.id)
    with pytest.raises(ProjectExists) as caught:
        await repositories.projects.create(fields("payments"))
    assert caught.value.extra == {"existing_id": project.id}


async def test_active_projects_are_listed_newest_first(
    repositories: Repositories, clock: SetClock
) -> None:
    statuses = ("active", "inactive", "active", "archived", "active")
    made = []
    for number, status in enumerate(statuses):
        clock.advance()
        made.append(await repositories.projects.create(fields(f"r{number}", status=status)))
    await repositories.projects.soft_delete(made[2].id)
    assert await repositories.projects.list_active_projects() == [made[4], made[0]]


async def test_a_webhook_url_is_set_and_cleared(
    repositories: Repositories, project: Project, clock: SetClock
) -> None:
    projects = repositories.projects
    later = clock.advance()
    assert await projects.update_webhook_url(project.id, "https://example.com/") is True
    changed = await projects.get_by_id(project.id)
    assert changed == project.model_copy(
        update={"webhook_url": "https://example.com/", "updated_at": later, "version": 2}
    )
    assert await projects.update_webhook_url(project.id, None) is True
    cleared = await projects.get_by_id(project.id)
    assert cleared is not None
    assert (cleared.webhook_url, cleared.version) == (None, 3)
    assert await projects.update_webhook_url(99, "https://example.com/") is False


async def test_marking_deleted_and_back(
    repositories: Repositories, project: Project, clock: SetClock
) -> None:
    projects = repositories.projects
    assert await projects.restore(project.id) is None
    deleted_at = clock.advance()
    deleted = await projects.soft_delete(project.id)
    assert await projects.soft_delete(project.id) is None
    assert deleted == await projects.get_by_id(project.id)
    assert deleted == project.model_copy(
        update={"status": ProjectStatus.DELETED, "updated_at": deleted_at, "version": 2}
    )
    restored_at = clock.advance()
    assert await projects.restore(project.id) == project.model_copy(
        update={"status": ProjectStatus.ACTIVE, "updated_at": restored_at, "version": 3}
    )
    assert await projects.restore(project.id) is None
    assert await projects.soft_delete(99) is None
    assert await projects.restore(99) is None


async def test_a_taken_repository_is_not_restored(
    repositories: Repositories, project: Project
) -> None:
    await repositories.projects.soft_delete(project.id)
    taker = await repositories.projects.create(fields("payments"))
    with pytest.raises(ProjectExists) as caught:
        await repositories.projects.restore(project.id)
    assert caught.value.extra == {"existing_id": taker.id}


async def test_purging_takes_along_what_belongs_to_it(
    repositories: Repositories, project: Project, manager: DatabaseManager
) -> None:
    await repositories.settings.create({"project_id": project.id})
    await repositories.keys.add_canary("k", "canary")
    key = await add_key(repositories, project.id, "k")
    await repositories.secrets.add(project.id, "A", project_key_id=key, ciphertext="c")
    assert await repositories.projects.purge(project.id) is True
    assert await repositories.projects.purge(project.id) is False
    for table in ("projects", "project_settings", "project_keys", "project_secrets"):
        assert manager.execute_query(f"SELECT 1 FROM {table}") == []  # noqa: S608


async def test_names_and_repositories_changed_at_once_are_all_kept(
    repositories: Repositories,
) -> None:
    # Each update is a statement without a transaction around it.
    for number in range(20):
        made = await repositories.projects.create(fields(f"repo-{number}"))
        await asyncio.gather(
            repositories.projects.update(made.id, {"name": f"Name {number}"}),
            repositories.projects.update(made.id, {"github_owner": f"Owner-{number}"}),
            repositories.projects.update(made.id, {"github_repo": f"Changed-{number}"}),
        )
        changed = await repositories.projects.get_by_id(made.id)
        assert changed is not None
        assert (changed.name, changed.github_owner, changed.github_repo) == (
            f"Name {number}",
            f"Owner-{number}",
            f"Changed-{number}",
        )
        assert changed.version == 4
        for text in (f"name {number}", f"OWNER-{number}", f"changed-{number}"):
            filter = ProjectFilter(text=text, owner=f"owner-{number}")
            page = await repositories.projects.page(filter, sort="name", limit=1, after=None)
            assert page.items == [changed]
        found = await repositories.projects.get_by_github_repo(
            f"owner-{number}", f"CHANGED-{number}"
        )
        assert found == changed


async def test_a_text_is_searched_in_the_name_and_in_owner_and_repository_together(
    repositories: Repositories, project: Project
) -> None:
    async def found(text: str) -> bool:
        filter = ProjectFilter(text=text)
        page = await repositories.projects.page(filter, sort="name", limit=9, after=None)
        return page.items == [project]

    for text in ("pay", "PAYMENTS", "acme", "m", "", "acme/payments", "ME/Pay", "/"):
        assert await found(text), text
    for text in (
        "%",
        "_",
        "\\",
        "payments\nacme",
        "acme\npay",
        "\n",
        "x",
        "payments/acme",
        "payments/",
    ):
        assert not await found(text), text


@pytest.mark.parametrize(
    ("text", "pattern"), [("a", "%a%"), ("50%", "%50\\%%"), ("_\\", "%\\_\\\\%"), ("", "%%")]
)
def test_what_like_takes_for_special_is_escaped(text: str, pattern: str) -> None:
    assert contains(text) == pattern


async def test_pages_of_chosen_projects(repositories: Repositories, clock: SetClock) -> None:
    made = []
    for number in range(12):
        clock.advance()
        made.append(await repositories.projects.create(fields(f"r{number:02}")))
    chosen = tuple(project.id for project in made[::3])
    for ids, sort, limit in itertools.product(((), chosen), ("name", "-created_at"), (1, 2, 50)):
        seen: list[Project] = []
        after = None
        while True:
            page = await repositories.projects.page(
                ProjectFilter(ids=ids), sort=sort, limit=limit, after=after
            )
            assert len(page.items) <= limit
            seen += page.items
            after = page.next_position
            if after is None:
                break
        expected = [project for project in made if project.id in ids]
        assert seen == (expected[::-1] if sort.startswith("-") else expected)
