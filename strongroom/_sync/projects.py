# Made of strongroom/_async by `make schema`: change it there.
"""Projects, the repositories that agents work on."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.transport import parsed
from strongroom._values import UNSET, Pairs, Unset, fields, filters, secret_pairs, segment
from strongroom.models import (
    ListedProject,
    ListedProjects,
    Project,
    ProjectFull,
    ProjectStatus,
)


class Projects(Resource):
    """`client.projects`."""

    @operation("createProject")
    def create(
        self,
        *,
        name: str,
        github_owner: str,
        github_repo: str,
        auto_confirm_plans: bool | Unset = UNSET,
        auto_merge_enabled: bool | Unset = UNSET,
        secrets: Pairs | Unset = UNSET,
        settings: Mapping[str, Any] | Unset | None = UNSET,
        status: Literal["active", "inactive", "archived"] | Unset = UNSET,
        webhook_url: str | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> Project:
        """Create a project, with any given settings and secrets (`{"KEY": "value"}`): all of it, or
        nothing. `settings` has the fields of `client.configuration.update`."""
        response = self._transport.post(
            "/api/projects",
            fields(
                name=name,
                github_owner=github_owner,
                github_repo=github_repo,
                auto_confirm_plans=auto_confirm_plans,
                auto_merge_enabled=auto_merge_enabled,
                secrets=secrets if secrets is UNSET else secret_pairs(secrets),
                settings=settings,
                status=status,
                webhook_url=webhook_url,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(Project, response)

    @operation("getProject")
    def get(
        self, project_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> Project:
        """The project, even when it is deleted, until it is purged."""
        response = self._transport.get(
            f"/api/projects/{project_id}", if_none_match=if_none_match, wait=wait
        )
        return parsed(Project, response)

    @operation("listProjects")
    def list(
        self,
        *,
        status: ProjectStatus | Sequence[ProjectStatus] | None = None,
        owner: str | None = None,
        q: str | None = None,
        sort: Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"]
        | None = None,
        include: Literal["runs"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[ListedProject, ListedProjects]:
        """Projects, newest first unless `sort` says otherwise. With `include="runs"` each has
        `runs`: what its runs are like."""
        return Pages(
            self._transport,
            "/api/projects",
            filters(
                status=status,
                owner=owner,
                q=q,
                sort=sort,
                include=include,
                limit=limit,
                cursor=cursor,
            ),
            ListedProjects,
            lambda page: page.projects,
        )

    @operation("patchProject", "putProject")
    def update(
        self,
        project_id: int,
        *,
        auto_confirm_plans: bool | Unset = UNSET,
        auto_merge_enabled: bool | Unset = UNSET,
        github_owner: str | Unset = UNSET,
        github_repo: str | Unset = UNSET,
        name: str | Unset = UNSET,
        status: ProjectStatus | Unset = UNSET,
        webhook_url: str | Unset | None = UNSET,
        if_match: int | str | None = None,
    ) -> Project:
        """Change the given fields and leave the others. None clears `webhook_url`."""
        response = self._transport.change(
            "PATCH",
            f"/api/projects/{project_id}",
            fields(
                auto_confirm_plans=auto_confirm_plans,
                auto_merge_enabled=auto_merge_enabled,
                github_owner=github_owner,
                github_repo=github_repo,
                name=name,
                status=status,
                webhook_url=webhook_url,
            ),
            if_match=if_match,
        )
        return parsed(Project, response)

    @operation("deleteProject")
    def delete(
        self, project_id: int, *, purge: bool | None = None, if_match: int | str | None = None
    ) -> None:
        """Mark the project deleted, which `restore` undoes, or purge it, which destroys its secrets
        and also needs `secrets:write`."""
        self._transport.change(
            "DELETE", f"/api/projects/{project_id}", None, filters(purge=purge), if_match=if_match
        )

    @operation("restoreProject")
    def restore(
        self,
        project_id: int,
        *,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> Project:
        """Make a deleted project active again."""
        response = self._transport.post(
            f"/api/projects/{project_id}/restore",
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(Project, response)

    @operation("getProjectByRepo")
    def get_by_repo(
        self,
        owner: str,
        repo: str,
        *,
        if_none_match: int | str | None = None,
        wait: float | None = None,
    ) -> Project:
        """The project of a repository, unless it is deleted."""
        response = self._transport.get(
            f"/api/projects/by-repo/{segment(owner)}/{segment(repo)}",
            if_none_match=if_none_match,
            wait=wait,
        )
        return parsed(Project, response)

    @operation("getFull")
    def full(
        self, project_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> ProjectFull:
        """The project, its configuration and the metadata of its secrets, read at one moment."""
        response = self._transport.get(
            f"/api/projects/{project_id}/full", if_none_match=if_none_match, wait=wait
        )
        return parsed(ProjectFull, response)
