"""The configuration of projects, which agents follow, and its versions."""

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import (
    ConfigurationDiff,
    ConfigurationVersion,
    ConfigurationVersionList,
    ProjectSettings,
)


class Configuration(Resource):
    """`client.configuration`."""

    @operation("getConfiguration")
    async def get(
        self, project_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> ProjectSettings:
        """The project's configuration, or the defaults."""
        response = await self._transport.get(
            f"/api/projects/{project_id}/configuration", if_none_match=if_none_match, wait=wait
        )
        return parsed(ProjectSettings, response)

    @operation("patchConfiguration", "putConfiguration")
    async def update(
        self,
        project_id: int,
        *,
        branch_name: str | Unset = UNSET,
        planning_statement: str | Unset | None = UNSET,
        repository_rules: str | Unset | None = UNSET,
        setup_commands: str | Unset | None = UNSET,
        if_match: int | str | None = None,
    ) -> ProjectSettings:
        """Change the given fields and leave the others. None clears a text."""
        response = await self._transport.change(
            "PATCH",
            f"/api/projects/{project_id}/configuration",
            fields(
                branch_name=branch_name,
                planning_statement=planning_statement,
                repository_rules=repository_rules,
                setup_commands=setup_commands,
            ),
            if_match=if_match,
        )
        return parsed(ProjectSettings, response)

    @operation("listConfigurationVersions")
    def versions(
        self, project_id: int, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[ConfigurationVersion, ConfigurationVersionList]:
        """Versions, newest first: who changed which fields, and when."""
        return Pages(
            self._transport,
            f"/api/projects/{project_id}/configuration/versions",
            filters(limit=limit, cursor=cursor),
            ConfigurationVersionList,
            lambda page: page.versions,
        )

    @operation("getConfigurationVersion")
    async def version(
        self,
        project_id: int,
        version: int,
        *,
        if_none_match: int | str | None = None,
        wait: float | None = None,
    ) -> ProjectSettings:
        """The configuration as it was in this version."""
        response = await self._transport.get(
            f"/api/projects/{project_id}/configuration/versions/{version}",
            if_none_match=if_none_match,
            wait=wait,
        )
        return parsed(ProjectSettings, response)

    @operation("diffConfiguration")
    async def diff(
        self, project_id: int, *, from_: int | None = None, to: int | None = None
    ) -> ConfigurationDiff:
        """The fields that differ between two versions, each with a unified diff. By
        default the last change: `to` is the present version, and `from_` the one before it."""
        response = await self._transport.get(
            f"/api/projects/{project_id}/configuration/diff", filters(from_=from_, to=to)
        )
        return parsed(ConfigurationDiff, response)

    @operation("rollbackConfiguration")
    async def rollback(
        self,
        project_id: int,
        *,
        version: int,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> ProjectSettings:
        """Give the configuration the content of this version, always as a new version."""
        response = await self._transport.post(
            f"/api/projects/{project_id}/configuration/rollback",
            fields(version=version),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(ProjectSettings, response)
