"""The required methods of the service, with plain data as arguments and results."""

import json
from typing import Any

import pytest

from backend.errors import ProjectExists, ProjectNotFound, ValidationFailed
from backend.schemas.projects import ProjectSettingsUpdate, ProjectUpdate
from backend.services.database_service import DatabaseService
from models import Project, ProjectStatus
from tests.support.clocks import SetClock

PROJECT: dict[str, Any] = {"name": "Payments", "github_owner": "acme", "github_repo": "payments"}


def places(caught: pytest.ExceptionInfo[ValidationFailed]) -> list[str]:
    """The pointers of the errors."""
    return [error["pointer"] for error in caught.value.extra["errors"]]


async def test_a_project_is_made_with_its_settings(timed: DatabaseService, clock: SetClock) -> None:
    project = await timed.create_project_with_settings(
        {**PROJECT, "auto_merge_enabled": True}, {"planning_statement": "p", "branch_name": "b"}
    )
    assert isinstance(project, Project)
    assert (project.id, project.auto_merge_enabled) == (1, True)
    assert project.created_at == project.updated_at == clock.text()
    settings = await timed.projects.get_settings(1)
    assert (settings.planning_statement, settings.branch_name) == ("p", "b")
    assert settings.created_at == clock.text()


async def test_all_that_is_wrong_with_a_project_is_told(service: DatabaseService) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await service.create_project_with_settings(
            {"name": "\0", "github_owner": 5, "unknown": 1, "secrets": [{"key": "a/b~c"}]},
            {"branch_name": "a..b", "planning_statement": "\ud800"},
        )
    assert sorted(places(caught)) == [
        "/github_owner",
        "/github_repo",
        "/name",
        "/secrets/0/key",
        "/secrets/0/value",
        "/settings/branch_name",
        "/settings/planning_statement",
        "/unknown",
    ]
    assert await service.repositories.projects.count() == 0


async def test_a_taken_repository_makes_nothing(service: DatabaseService) -> None:
    project = await service.create_project_with_settings(PROJECT, {})
    with pytest.raises(ProjectExists) as caught:
        await service.create_project_with_settings(
            {**PROJECT, "github_repo": "PAYMENTS"}, {"planning_statement": "p"}
        )
    assert caught.value.extra["existing_id"] == project.id
    assert await service.repositories.settings.count() == 1


async def test_the_full_configuration_is_plain_data(service: DatabaseService) -> None:
    await service.create_project_with_settings(PROJECT, {"setup_commands": "make"})
    assert await service.update_project_secrets(1, [{"key": "A", "value": "sentinel"}]) is True
    full = await service.get_project_full_config(1)
    assert full == json.loads(json.dumps(full))
    assert full.keys() == {"project", "settings", "secrets", "secret_count"}
    assert full["project"]["github_repo"] == "payments"
    assert full["settings"]["setup_commands"] == "make"
    assert [(secret["key"], secret["value"]) for secret in full["secrets"]] == [("A", None)]
    assert full["secret_count"] == 1
    assert "sentinel" not in json.dumps(full)
    with pytest.raises(ProjectNotFound):
        await service.get_project_full_config(2)


async def test_secrets_are_set_and_it_is_told_whether_that_changed_anything(
    service: DatabaseService,
) -> None:
    await service.create_project_with_settings(PROJECT, {})
    secrets = [{"key": "A", "value": "a"}, {"key_name": "B", "value": "b"}]
    assert await service.update_project_secrets(1, []) is False
    assert await service.update_project_secrets(1, secrets) is True
    assert await service.update_project_secrets(1, secrets) is False
    assert await service.update_project_secrets(1, [{"key": "A", "value": "c"}]) is True
    assert (await service.secrets.reveal(1, "A")).value == "c"
    assert (await service.secrets.reveal(1, "B")).value == "b"


async def test_wrong_secrets_change_nothing(service: DatabaseService) -> None:
    await service.create_project_with_settings(PROJECT, {})
    for secrets, place in (
        ([{"key": "A", "value": "x"}, {"key": "A", "value": "y"}], "/secrets/1/key"),
        ([{"key": "A", "value": "x"}, {"key": "1", "value": "y"}], "/secrets/1/key"),
        ([{"key": "A", "value": ""}], "/secrets/0/value"),
        ([{"key": "A", "value": "\ud800"}], "/secrets/0/value"),
    ):
        with pytest.raises(ValidationFailed) as caught:
            await service.update_project_secrets(1, secrets)
        assert places(caught) == [place]
    with pytest.raises(ProjectNotFound):
        await service.update_project_secrets(2, [{"key": "A", "value": "x"}])
    assert await service.repositories.secrets.count() == 0


async def test_a_change_has_the_time_it_was_made_at(
    timed: DatabaseService, clock: SetClock
) -> None:
    made_at = clock.text()
    await timed.create_project_with_settings(PROJECT, {})
    later = clock.advance()
    changed = await timed.projects.update(1, ProjectUpdate(name="Other"))
    assert (changed.created_at, changed.updated_at) == (made_at, later)
    latest = clock.advance()
    settings = await timed.projects.update_settings(1, ProjectSettingsUpdate(branch_name="b"))
    assert (settings.created_at, settings.updated_at) == (made_at, latest)
    same = await timed.projects.update(1, ProjectUpdate(name="Other"))
    assert same == changed
    clock.advance()
    await timed.projects.delete(1)
    deleted = await timed.projects.get(1)
    assert (deleted.status, deleted.updated_at) == (ProjectStatus.DELETED, clock.text())


async def test_every_change_and_no_refusal_is_in_the_audit(
    timed: DatabaseService, clock: SetClock
) -> None:
    await timed.create_project_with_settings(PROJECT, {"setup_commands": "make"})
    await timed.projects.update(1, ProjectUpdate(name="Other"))
    await timed.projects.update(1, ProjectUpdate(name="Other"))
    await timed.update_project_secrets(1, [{"key": "A", "value": "a"}])
    await timed.update_project_secrets(1, [{"key": "A", "value": "a"}])
    await timed.secrets.reveal(1, "A")
    with pytest.raises(ProjectNotFound):
        await timed.projects.delete(2)
    await timed.secrets.delete(1, "A")
    await timed.projects.delete(1)
    await timed.projects.delete(1)
    await timed.projects.restore(1)
    await timed.projects.restore(1)
    await timed.projects.purge(1)
    rows = timed.db_manager.execute_query(
        "SELECT action, actor, at FROM audit_entries WHERE at = ? ORDER BY id", (clock.text(),)
    )
    assert {row["actor"] for row in rows} == {"system"}
    assert [row["action"] for row in rows] == [
        "project.created",
        "settings.created",
        "project.updated",
        "secret.created",
        "secret.revealed",
        "secret.deleted",
        "project.deleted",
        "project.restored",
        "project.purged",
    ]
