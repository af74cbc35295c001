"""The steps that create a project."""

from functools import lru_cache

from backend.repositories import Repositories
from backend.repositories.guarded_rows import CONFIGURATIONS, PROJECTS, written_row
from backend.repositories.paging import row_json
from backend.repositories.project_repository import PROJECT_MEMBERS
from backend.schemas.projects import ProjectCreate, ProjectFields
from backend.services.base import Kit
from backend.services.guard import configuration_target, project_target
from backend.services.kinds import Kind
from backend.services.projects.secret_sealing import SecretSealing, secret_created
from backend.services.recording import AuditEvent

_FIELDS = tuple(ProjectFields.model_fields)
_NOT_FIELDS = frozenset({"settings", "secrets"})


async def add_project(
    kit: Kit, sealing: SecretSealing, repositories: Repositories, project: ProjectCreate
) -> tuple[int, bytes]:
    """Insert and record a project with its settings and secrets. Returns its id and its JSON.
    Raises `ProjectExists`."""
    given = project.secrets
    created = await repositories.projects.add_row(
        {name: getattr(project, name) for name in _FIELDS}
    )
    id: int = created["id"]
    settings = project.settings.given_fields() if project.settings is not None else {}
    configuration = await repositories.settings.add_to(id, settings)
    events = [
        AuditEvent(
            Kind.PROJECT_CREATED,
            project_target(id),
            id,
            _created_fields(frozenset(project.model_fields_set), tuple(settings)),
            1,
            None,
            written_row(PROJECTS, created),
        ),
        AuditEvent(
            Kind.SETTINGS_CREATED,
            configuration_target(id),
            id,
            tuple(settings),
            1,
            None,
            written_row(CONFIGURATIONS, configuration),
        ),
    ]
    if given:
        project_key = await sealing.new_key(repositories, id)
        sealed = [sealing.sealed(project_key, one.key, 1, one.value) for one in given]
        rows = await repositories.secrets.add_all(id, sealed)
        events += [
            secret_created(id, secret.key, 1, row) for row, secret in zip(rows, sealed, strict=True)
        ]
    await kit.audit.record_all(repositories, events)
    return id, row_json(created, PROJECT_MEMBERS)


@lru_cache(maxsize=1024)
def _created_fields(fields: frozenset[str], settings: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the given fields, with those of the settings."""
    return (*(fields - _NOT_FIELDS), *(f"settings.{name}" for name in settings))
