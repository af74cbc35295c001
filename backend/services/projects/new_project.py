"""The steps that create projects."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from backend.repositories import Repositories
from backend.repositories.guarded_kinds import CONFIGURATIONS, PROJECTS
from backend.repositories.guarded_rows import GuardedRow, written_row
from backend.repositories.paging import row_json
from backend.repositories.project_repository import PROJECT_MEMBERS
from backend.repositories.project_secrets_repository import SealedSecret
from backend.repositories.project_settings_repository import Made
from backend.schemas.projects import ProjectCreate, ProjectFields
from backend.services.guard import configuration_target, project_target
from backend.services.kinds import Kind
from backend.services.projects.secret_sealing import SecretSealing, secret_created
from backend.services.recording import AuditEvent, field_names

_FIELDS = tuple(ProjectFields.model_fields)
_NOT_FIELDS = frozenset({"settings", "secrets"})


class NewProject(NamedTuple):
    """A project that was just created."""

    id: int
    json: bytes
    events: list[AuditEvent]
    """What has to be recorded."""


def fields_of(project: ProjectCreate) -> dict[str, Any]:
    """The columns that a client sets."""
    return {name: getattr(project, name) for name in _FIELDS}


async def add_projects(
    sealing: SecretSealing,
    repositories: Repositories,
    rows: Sequence[Mapping[str, Any]],
    projects: Sequence[ProjectCreate],
    actors: Sequence[str],
) -> list[NewProject]:
    """Add settings and secrets to projects whose rows were just inserted, each for its actor.
    Returns all of them in order. Their events have to be recorded."""
    given = [
        project.settings.given_fields() if project.settings is not None else {}
        for project in projects
    ]
    ids: list[int] = [row["id"] for row in rows]
    configurations = await repositories.settings.add_each(
        [
            (id, settings, Made(actor, field_names(tuple(settings))))
            for id, settings, actor in zip(ids, given, actors, strict=True)
        ]
    )
    new = []
    for id, project, row, settings, configuration in zip(
        ids, projects, rows, given, configurations, strict=True
    ):
        fields = _created_fields(frozenset(project.model_fields_set), tuple(settings))
        events = [
            _created(
                Kind.PROJECT_CREATED, project_target(id), id, fields, written_row(PROJECTS, row)
            ),
            _created(
                Kind.SETTINGS_CREATED,
                configuration_target(id),
                id,
                tuple(settings),
                written_row(CONFIGURATIONS, configuration),
            ),
        ]
        new.append(NewProject(id, row_json(row, PROJECT_MEMBERS), events))
    await _add_secrets(sealing, repositories, new, projects, actors)
    return new


async def _add_secrets(
    sealing: SecretSealing,
    repositories: Repositories,
    new: Sequence[NewProject],
    projects: Sequence[ProjectCreate],
    actors: Sequence[str],
) -> None:
    with_secrets = [one for one in zip(new, projects, actors, strict=True) if one[1].secrets]
    if not with_secrets:
        return
    keys = await sealing.new_keys(repositories, [one.id for one, *_ in with_secrets])
    sealed: list[tuple[int, SealedSecret]] = []
    for (one, project, actor), key in zip(with_secrets, keys, strict=True):
        sealed += [(one.id, secret) for secret in sealing.sealed_new(key, project.secrets, actor)]
    rows = iter(await repositories.secrets.add_each(sealed))
    for one, project, _ in with_secrets:
        one.events.extend(
            secret_created(one.id, secret.key, 1, next(rows)) for secret in project.secrets
        )


def _created(
    kind: Kind, target: str, id: int, fields: tuple[str, ...], row: GuardedRow
) -> AuditEvent:
    return AuditEvent(kind, target, id, fields, 1, None, row)


@lru_cache(maxsize=1024)
def _created_fields(fields: frozenset[str], settings: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the given fields, with those of the settings."""
    return (*(fields - _NOT_FIELDS), *(f"settings.{name}" for name in settings))
