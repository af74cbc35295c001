"""Use cases for the versions of configurations: listing, reading, comparing, going back to one."""

import json
from typing import Any

from backend.errors import AgentRunNotFound, ChangedOutside, VersionNotFound
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import CONFIGURATIONS
from backend.repositories.version_rows import CONFIGURATION_VERSIONS, VersionRow
from backend.schemas.versions import (
    ConfigurationDiff,
    ConfigurationVersion,
    ConfigurationVersionList,
    VersionStatus,
)
from backend.services.base import Kit, UseCases, existing_project, unit_of_work
from backend.services.principal import current_principal
from backend.services.projects.conditions import match_configuration
from backend.services.projects.configuration_changes import CONTENT, ConfigurationChanges
from backend.services.projects.text_diff import unified_diff
from models import ProjectSettings


class ConfigurationHistory(UseCases):
    """The versions of configurations. The present one stands with its project."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._changes = ConfigurationChanges(kit)

    @unit_of_work(read_only=True)
    async def page(
        self, project_id: int, *, limit: int, cursor: str | None
    ) -> ConfigurationVersionList:
        """One page of versions, newest first. Raises `ProjectNotFound` and `BadCursor`."""
        listing = self.kit.listing("configuration_versions", project_id, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            present = await repositories.settings.get_by_project_id(project_id)
            page = await repositories.configuration_versions.page(
                project_id,
                oldest=self._oldest(present),
                limit=limit,
                after=listing.after,
            )
            earlier = [row for row in page.items if row.mac]
            forged = set(
                await self.kit.guard.forged_versions(repositories, CONFIGURATION_VERSIONS, earlier)
            )
            now = [row.id for row in page.items if not row.mac]
            is_forged = bool(await self.kit.guard.forged(repositories, CONFIGURATIONS, now))
        versions = [
            _shown(row, readable=row.id not in forged if row.mac else not is_forged)
            for row in page.items
        ]
        return listing.answer(ConfigurationVersionList, page, versions=versions)

    @unit_of_work(read_only=True)
    async def get(self, project_id: int, version: int) -> ProjectSettings:
        """The configuration as it was in this version. Raises `ProjectNotFound`, `VersionNotFound`
        and `ChangedOutside`."""
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            return await self._version(repositories, project_id, version)

    @unit_of_work(read_only=True)
    async def diff(
        self, project_id: int, from_version: int | None, to_version: int | None
    ) -> ConfigurationDiff:
        """The fields that differ between two versions, each with a unified diff: by default to the
        present version, and from the one before.

        Raises `ProjectNotFound`, `VersionNotFound` and `ChangedOutside`.
        """
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            if to_version is None:
                present = await self.kit.guard.configuration(repositories, project_id)
                to_version = present.version if present is not None else 0
            if from_version is None:
                from_version = max(to_version - 1, 0)
            before = await self._version(repositories, project_id, from_version)
            after = await self._version(repositories, project_id, to_version)
        # Still on the reader's thread: the largest texts take a while.
        fields = {}
        for name in CONTENT:
            old, new = getattr(before, name), getattr(after, name)
            if old != new:
                fields[name] = unified_diff(
                    old, new, f"{name} version {from_version}", f"{name} version {to_version}"
                )
        return ConfigurationDiff.model_construct(
            from_version=from_version, to_version=to_version, fields=fields
        )

    async def diff_json(
        self, project_id: int, from_version: int | None, to_version: int | None
    ) -> bytes:
        """The same as JSON."""
        return await self._rendered(project_id, from_version, to_version, as_text=False)

    async def diff_text(
        self, project_id: int, from_version: int | None, to_version: int | None
    ) -> bytes:
        """The diffs alone, one after another, as UTF-8."""
        return await self._rendered(project_id, from_version, to_version, as_text=True)

    @unit_of_work(read_only=True)
    async def _rendered(
        self, project_id: int, from_version: int | None, to_version: int | None, *, as_text: bool
    ) -> bytes:
        # Encoded on the database thread, because large texts would block the event loop.
        diff = await self.diff(project_id, from_version, to_version)
        if as_text:
            return "".join(diff.fields.values()).encode()
        return diff.model_dump_json(by_alias=True).encode()

    @unit_of_work
    async def roll_back(self, project_id: int, version: int) -> ProjectSettings:
        """The configuration, as a new version with the content of `version`. Raises
        `ProjectNotFound`, `VersionNotFound` and `ChangedOutside`."""
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            await match_configuration(repositories, project_id)
            content = await self._version(repositories, project_id, version)
            return await self._changes.roll_back(repositories, project_id, content)

    @unit_of_work(read_only=True)
    async def of_run(self, run_id: int) -> ProjectSettings:
        """The configuration that the run started with; before its start, the one that it was
        created with. Raises `AgentRunNotFound`, `VersionNotFound` and `ChangedOutside`."""
        async with self.transaction() as repositories:
            run = await repositories.runs.get_by_id(run_id)
            if run is None or not current_principal().sees(run.project_id):
                raise AgentRunNotFound
            version = run.settings_version
            if version is None:
                raise VersionNotFound
            return await self._version(repositories, run.project_id, version)

    async def _version(
        self, repositories: Repositories, project_id: int, version: int
    ) -> ProjectSettings:
        if version == 0:
            return ProjectSettings.defaults(await existing_project(repositories, project_id))
        present = await repositories.settings.get_by_project_id(project_id)
        if present is not None and present.version == version:
            await self.kit.guard.require(repositories, CONFIGURATIONS, present.id)
            return present
        versions = repositories.configuration_versions
        row = await versions.get(project_id, version)
        if row is None:
            # If the present one was changed or deleted in the file, that may be the reason.
            await self.kit.guard.configuration(repositories, project_id)
            raise VersionNotFound
        if version < self._oldest(present) and not await versions.is_used(project_id, version):
            raise VersionNotFound
        if await self.kit.guard.forged_versions(repositories, CONFIGURATION_VERSIONS, [row]):
            raise ChangedOutside("version of the configuration", "use another version")
        columns = _columns(row)
        return ProjectSettings.of_row({"id": columns["configuration_id"], **columns})

    def _oldest(self, present: ProjectSettings | None) -> int:
        if present is None:
            return 0
        kept = self.kit.kept_versions
        return kept.oldest(present.version, kept.configurations)


def _columns(row: VersionRow) -> dict[str, Any]:
    return dict(zip(CONFIGURATION_VERSIONS.columns, row.values, strict=True))


def _shown(row: VersionRow, *, readable: bool) -> ConfigurationVersion:
    columns = _columns(row)
    # Not validated, so that a row that was damaged in the file can be seen.
    return ConfigurationVersion.model_construct(
        version=columns["version"],
        created_at=columns["updated_at"],
        actor=columns["actor"],
        fields=_names(columns["fields"]),
        status=VersionStatus.OK if readable else VersionStatus.UNREADABLE,
    )


def _names(stored: object) -> list[str] | None:
    """The names of the changed fields; `None` when they are not known."""
    try:
        names = json.loads(stored) if isinstance(stored, str) else None
    except ValueError:
        # Another program wrote it.
        return None
    if not isinstance(names, list):
        return None
    return [name for name in names if isinstance(name, str)]
