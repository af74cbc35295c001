"""Changing configurations: the steps that keep the version that is replaced."""

from collections.abc import Mapping
from typing import Any

from backend.errors import ChangedOutside
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import CONFIGURATIONS
from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.project_settings_repository import Made
from backend.repositories.version_rows import CONFIGURATION_VERSIONS
from backend.schemas.projects import ProjectSettingsUpdate
from backend.services.base import Kit, differing, live_project
from backend.services.guard import configuration_target
from backend.services.kinds import Kind
from backend.services.principal import current_principal
from backend.services.recording import field_names
from models import ProjectSettings

CONTENT = tuple(ProjectSettingsUpdate.model_fields)
"""The fields of a configuration that clients set."""


class ConfigurationChanges:
    """Steps inside a transaction."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def change(
        self, repositories: Repositories, project_id: int, data: Mapping[str, Any]
    ) -> ProjectSettings:
        """The configuration with the fields in `data` changed; the same as before when none
        differs. Raises `ProjectNotFound`, and `ChangedOutside` unless all fields are given."""
        project = await live_project(repositories, project_id)
        try:
            stored = await self._kit.guard.configuration(repositories, project_id)
        except ChangedOutside:
            if not data.keys() >= set(CONTENT):
                raise
            return await self._replace_forged(repositories, project_id, data, Kind.SETTINGS_UPDATED)
        current = stored or ProjectSettings.defaults(project)
        changes = differing(current, data)
        if not changes:
            return current
        return await self._store(repositories, project_id, stored, changes, Kind.SETTINGS_UPDATED)

    async def roll_back(
        self, repositories: Repositories, project_id: int, content: ProjectSettings
    ) -> ProjectSettings:
        """A new version with the content of an earlier one, even if it is that of the present one,
        or if that was changed outside the service. Raises `ProjectNotFound`."""
        project = await live_project(repositories, project_id)
        data = {name: getattr(content, name) for name in CONTENT}
        kind = Kind.SETTINGS_ROLLED_BACK
        try:
            stored = await self._kit.guard.configuration(repositories, project_id)
        except ChangedOutside:
            return await self._replace_forged(repositories, project_id, data, kind)
        changes = differing(stored or ProjectSettings.defaults(project), data)
        return await self._store(repositories, project_id, stored, changes, kind)

    async def _store(
        self,
        repositories: Repositories,
        project_id: int,
        stored: ProjectSettings | None,
        changes: Mapping[str, Any],
        kind: Kind,
    ) -> ProjectSettings:
        """Store the changes to the genuine configuration `stored`, or to the defaults."""
        if stored is not None:
            rows = await repositories.guarded_rows.values(CONFIGURATIONS, [stored.id])
            mac = self._kit.guard.version_mac(CONFIGURATION_VERSIONS, rows[stored.id])
            await repositories.configuration_versions.keep(stored.id, mac)
        changed = await repositories.settings.upsert(project_id, changes, _made(changes))
        await self._record(repositories, kind, changed, changes)
        return changed

    async def _replace_forged(
        self, repositories: Repositories, project_id: int, data: Mapping[str, Any], kind: Kind
    ) -> ProjectSettings:
        """Put a new row in the place of one that was changed outside the service, which is not
        kept."""
        target = configuration_target(project_id)
        version = await self._kit.guard.last_version(repositories, target) + 1
        await repositories.settings.remove(project_id)
        await repositories.settings.add_to(project_id, data, version=version, made=_made(data))
        replaced = await repositories.settings.get_by_project_id(project_id)
        assert replaced is not None  # noqa: S101 - it was just added
        await self._record(repositories, kind, replaced, data)
        return replaced

    async def _record(
        self,
        repositories: Repositories,
        kind: Kind,
        settings: ProjectSettings,
        fields: Mapping[str, Any],
    ) -> None:
        await self._kit.audit.record(
            repositories,
            kind,
            target=configuration_target(settings.project_id),
            project_id=settings.project_id,
            fields=fields,
            version=settings.version,
            row=GuardedRow(CONFIGURATIONS, settings.id),
        )


def _made(changes: Mapping[str, Any]) -> Made:
    return Made(current_principal().name, field_names(tuple(changes)))
