"""Preconditions of changes of a project, of its configuration and of its secrets."""

from collections.abc import Callable

from backend.repositories import Repositories
from backend.repositories.secret_versions_repository import KeptSecret
from backend.services.base import existing_project, live_project
from backend.services.preconditions import is_conditional, matched
from models import Project, ProjectSettings


async def matched_project(
    repositories: Repositories, project_id: int
) -> tuple[Project, int | None]:
    """The project, deleted or not, and the version that its change has to find: see `matched`.

    Raises `ProjectNotFound` and `VersionMismatch`.
    """
    project = await existing_project(repositories, project_id)
    return project, matched(project.version)


async def match_configuration(repositories: Repositories, project_id: int) -> None:
    """Raises `VersionMismatch` unless the project's configuration has a version that the request
    permits, and `ProjectNotFound`, also when the project is deleted.

    To be called before the configuration is compared with the record, which may raise a conflict.
    """
    if is_conditional():
        project = await live_project(repositories, project_id)
        stored = await repositories.settings.get_by_project_id(project_id)
        matched((stored or ProjectSettings.defaults(project)).version)


async def match_secret(
    repositories: Repositories,
    project_id: int,
    key: str,
    *,
    deleted: Callable[[KeptSecret], bool] = lambda _: False,
) -> None:
    """Raises `VersionMismatch` unless the secret has a version that the request permits. A deleted
    secret has that of its last version, if the request can still do something to it, which
    `deleted` tells. Does nothing if there is no such secret."""
    if not is_conditional():
        return
    stored = await repositories.secrets.get(project_id, key)
    if stored is not None:
        matched(stored.secret.version)
        return
    last = await repositories.secret_versions.newest(project_id, key)
    if last is not None and deleted(last):
        matched(last.version)
