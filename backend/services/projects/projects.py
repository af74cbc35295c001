"""Use cases for projects and their configuration."""

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel

from backend.errors import ChangedOutside, Forbidden, InvalidField, ProjectNotFound
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import PROJECTS
from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.paging import JsonPage, Position
from backend.repositories.project_pages import ProjectFilter
from backend.repositories.project_repository import repository_key
from backend.schemas.projects import (
    ListedProjects,
    ProjectCreate,
    ProjectFull,
    ProjectSettingsUpdate,
    ProjectUpdate,
)
from backend.services.base import (
    Kit,
    UseCases,
    differing,
    existing_project,
    shielded_then,
    unit_of_work,
)
from backend.services.guard import Forgery, project_target
from backend.services.kinds import Kind
from backend.services.preconditions import is_conditional, matched
from backend.services.principal import current_principal
from backend.services.projects.conditions import match_configuration, matched_project
from backend.services.projects.configuration_changes import ConfigurationChanges
from backend.services.projects.new_project import add_projects, fields_of
from backend.services.projects.secret_sealing import SecretSealing
from database.engine import ALONE, Call
from models import Project, ProjectSettings, ProjectStatus


def _require_may_create(project: ProjectCreate) -> None:
    principal = current_principal()
    principal.require_all_projects("projects:write")
    if project.secrets:
        principal.require("secrets:write")


async def _free_repositories(repositories: Repositories, calls: Sequence[Call]) -> list[int]:
    """The places of those calls of `create_json` that may create a project and whose repository no
    project has, neither a stored one nor one of a call before."""
    wanted: dict[tuple[str, str], int] = {}
    for place, call in enumerate(calls):
        project: ProjectCreate = call.arguments[0]
        try:
            call.context.run(_require_may_create, project)
        except Forbidden:
            continue
        wanted.setdefault(repository_key(project.github_owner, project.github_repo), place)
    if not wanted:
        return []
    taken = await repositories.projects.taken(list(wanted))
    return [place for key, place in wanted.items() if key not in taken]


_REPOSITORY = frozenset({"github_owner", "github_repo"})
_ALL_FIELDS = frozenset(ProjectUpdate.model_fields)


class Projects(UseCases):
    """Creating, reading, changing and deleting projects."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self._configurations = ConfigurationChanges(kit)

    async def create(self, project: ProjectCreate) -> Project:
        """Create a project with its settings and secrets, in one transaction.

        Raises `ProjectExists` when another project has the repository, and `Forbidden` for a
        principal that is bound to projects, or that sends secrets and may not write them.
        """
        _, created = await self.create_json(project)
        return Project.model_validate_json(created)

    @unit_of_work(together="create_together")
    async def create_json(self, project: ProjectCreate) -> tuple[int, bytes]:
        """The same, with the project's id and its JSON."""
        _require_may_create(project)
        async with self.transaction() as repositories:
            row = await repositories.projects.add_row(fields_of(project))
            actor = current_principal().name
            [new] = await add_projects(self._sealing, repositories, [row], [project], [actor])
            await self.kit.audit.record_all(repositories, new.events)
            return new.id, new.json

    async def create_together(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of several `create_json` at once."""
        outcomes: list[Any] = [ALONE] * len(calls)
        async with self.transaction() as repositories:
            fit = await _free_repositories(repositories, calls)
            if not fit:
                return outcomes
            projects: list[ProjectCreate] = [calls[place].arguments[0] for place in fit]
            rows = await repositories.projects.add_rows([fields_of(one) for one in projects])
            actors = [calls[place].context.run(current_principal).name for place in fit]
            new = await add_projects(self._sealing, repositories, rows, projects, actors)
            for place, one in zip(fit, new, strict=True):
                outcomes[place] = (one.id, one.json)
            await self.kit.audit.record_calls(
                repositories,
                [(calls[place], one.events) for place, one in zip(fit, new, strict=True)],
            )
        return outcomes

    async def get(self, project_id: int) -> Project:
        """The project, deleted or not. Raises `ProjectNotFound`."""
        return await existing_project(self.repositories, project_id)

    async def get_json(self, project_id: int) -> bytes:
        """The same as JSON."""
        return _json(await self.get(project_id))

    async def get_by_repo(self, owner: str, repo: str) -> Project:
        """The project of a repository. Raises `ProjectNotFound`, also when it is deleted."""
        project = await self.repositories.projects.get_by_github_repo(owner, repo)
        if project is None or not current_principal().sees(project.id):
            raise ProjectNotFound
        return project

    async def twins(self) -> list[tuple[int, int]]:
        """Pairs of projects that share a repository: see `ProjectRepository.twins`."""
        return await self.repositories.projects.twins()

    async def page(
        self,
        *,
        statuses: tuple[ProjectStatus, ...] = (),
        owner: str | None = None,
        text: str | None = None,
        sort: str = "-created_at",
        limit: int = 50,
        cursor: str | None = None,
    ) -> ListedProjects:
        """One page of projects with one of `statuses`, of `owner`, with `text` in name, owner or
        repository, in the order of `sort`. Without `statuses`, deleted projects are left out.

        Raises `BadCursor`.
        """
        page = await self.page_json(
            statuses=statuses, owner=owner, text=text, sort=sort, limit=limit, cursor=cursor
        )
        return ListedProjects.model_validate_json(page)

    async def page_json(
        self,
        *,
        statuses: tuple[ProjectStatus, ...] = (),
        owner: str | None = None,
        text: str | None = None,
        sort: str = "-created_at",
        limit: int = 50,
        cursor: str | None = None,
        with_runs: bool = False,
    ) -> bytes:
        """The same page as the JSON of `ListedProjects`, each project with what its runs are like
        if that is asked for. Raises `BadCursor`."""
        ids = current_principal().visible_ids
        bound = (statuses, owner, text, ids, sort)
        listing = self.kit.listing("projects", *bound, cursor=cursor)
        filter = ProjectFilter(statuses, owner, text, ids)
        # A search may need several statements, which must see the same projects.
        read = self._read_found if text else self.repositories.projects.json_page
        page = await read(filter, sort=sort, limit=limit, after=listing.after, with_runs=with_runs)
        return listing.json(page)

    @unit_of_work(read_only=True)
    async def _read_found(
        self,
        filter: ProjectFilter,
        *,
        sort: str,
        limit: int,
        after: Position | None,
        with_runs: bool,
    ) -> JsonPage:
        async with self.transaction() as repositories:
            return await repositories.projects.json_page(
                filter, sort=sort, limit=limit, after=after, with_runs=with_runs
            )

    @unit_of_work
    async def update(self, project_id: int, update: ProjectUpdate) -> Project:
        """The project with the given fields changed; the same as before when none differs.

        Raises `ProjectNotFound`; `InvalidField` for the status `deleted`; `ProjectExists` when
        another project has the new repository; `Forbidden` when a principal that is bound to
        projects changes the repository; and `ChangedOutside`, unless all fields are given and the
        project was not purged.
        """
        async with self.transaction() as repositories:
            project = await existing_project(repositories, project_id)
            forgery = await self.kit.guard.forged(repositories, PROJECTS, [project_id])
            forged = project_id in forgery
            if project.status is ProjectStatus.DELETED and not forged:
                raise ProjectNotFound
            expected = matched(project.version)
            given = update.given_fields()
            if forged:
                if forgery[project_id] is Forgery.PUT_BACK:
                    # A genuine project would make all that was put back with it genuine.
                    raise ChangedOutside(PROJECTS.name, "purge it again")
                if not given.keys() >= _ALL_FIELDS:
                    raise ChangedOutside(PROJECTS.name)
            changes = given if forged else differing(project, given)
            if not changes:
                return project
            if changes.get("status") == ProjectStatus.DELETED:
                raise InvalidField(
                    ("status",), "status_by_delete", "only DELETE can delete a project"
                )
            if not _REPOSITORY.isdisjoint(changes):
                # "The repository is taken" would reveal a project that the principal can't see.
                current_principal().require_all_projects("projects:write")
            if forged:
                last = await self.kit.guard.last_version(repositories, project_target(project_id))
                await repositories.projects.count_from(project_id, max(last, 1))
                expected = None
            updated = await repositories.projects.change(project_id, changes, expected=expected)
            if updated is None:
                raise ProjectNotFound
            await self._record(repositories, Kind.PROJECT_UPDATED, updated, fields=changes)
            return updated

    @unit_of_work
    async def delete(self, project_id: int) -> None:
        """Mark the project as deleted, unless it already is. Raises `ProjectNotFound` and
        `ChangedOutside`."""
        async with self.transaction() as repositories:
            await matched_project(repositories, project_id)
            await self.kit.guard.require(repositories, PROJECTS, project_id)
            deleted = await repositories.projects.soft_delete(project_id)
            if deleted is not None:
                await self._record(repositories, Kind.PROJECT_DELETED, deleted)

    async def purge(self, project_id: int) -> None:
        """Remove the project with its key, its secrets and everything else that belongs to it, also
        if its row was deleted outside the service.

        Raises `ProjectNotFound`, and `Forbidden` for a principal that may not write secrets.
        """
        current_principal().require("secrets:write")
        # The purge removes the key from the database, so it must not stay in memory either.
        await shielded_then(self._purge(project_id), self.kit.vault.forget)

    @unit_of_work
    async def _purge(self, project_id: int) -> None:
        async with self.transaction() as repositories:
            if not current_principal().sees(project_id):
                raise ProjectNotFound
            if is_conditional():
                await matched_project(repositories, project_id)
            target = project_target(project_id)
            # First, because answers about several projects do not go with one of them.
            await repositories.answers.remove_of_project(project_id)
            existed = await repositories.projects.purge(project_id)
            if not existed and not await self.kit.guard.must_exist(repositories, PROJECTS, target):
                raise ProjectNotFound
            await self.kit.audit.record(
                repositories,
                Kind.PROJECT_PURGED,
                target=target,
                project_id=project_id,
                row=GuardedRow(PROJECTS, project_id),
            )

    @unit_of_work
    async def restore(self, project_id: int) -> Project:
        """The project, active again if it was deleted, else unchanged.

        Raises `ProjectNotFound`; `ProjectExists` when another project has its repository by now;
        `Forbidden` for a principal that is bound to projects; and `ChangedOutside`.
        """
        async with self.transaction() as repositories:
            project, _ = await matched_project(repositories, project_id)
            # "The repository is taken" would reveal a project that the principal can't see.
            current_principal().require_all_projects("projects:write")
            await self.kit.guard.require(repositories, PROJECTS, project_id)
            restored = await repositories.projects.restore(project_id)
            if restored is not None:
                await self._record(repositories, Kind.PROJECT_RESTORED, restored)
            return restored or project

    @unit_of_work(read_only=True)
    async def get_settings(self, project_id: int) -> ProjectSettings:
        """The project's configuration, or its defaults. Raises `ProjectNotFound` and
        `ChangedOutside`."""
        if not current_principal().sees(project_id):
            raise ProjectNotFound
        async with self.transaction() as repositories:
            settings = await self.kit.guard.configuration(repositories, project_id)
            if settings is None:
                project = await existing_project(repositories, project_id)
                return ProjectSettings.defaults(project)
            return settings

    async def get_settings_json(self, project_id: int) -> bytes:
        """The same as JSON."""
        return _json(await self.get_settings(project_id))

    @unit_of_work
    async def update_settings(
        self, project_id: int, update: ProjectSettingsUpdate
    ) -> ProjectSettings:
        """The configuration with the given fields changed; the same as before when none differs.

        Raises `ProjectNotFound`, and `ChangedOutside` unless all fields are given.
        """
        async with self.transaction() as repositories:
            await match_configuration(repositories, project_id)
            return await self.change_settings(repositories, project_id, update.given_fields())

    async def change_settings(
        self, repositories: Repositories, project_id: int, data: dict[str, Any]
    ) -> ProjectSettings:
        """The same as a step of a larger transaction."""
        return await self._configurations.change(repositories, project_id, data)

    @unit_of_work(read_only=True)
    async def get_full(self, project_id: int) -> ProjectFull:
        """The project, its settings and the metadata of its secrets, from one snapshot.

        Raises `ProjectNotFound` and `ChangedOutside`.
        """
        async with self.transaction() as repositories:
            project = await existing_project(repositories, project_id)
            settings = await self.kit.guard.configuration(repositories, project_id)
            secrets = await repositories.secrets.each_of(project_id, self._sealing.metadata)
            await self._sealing.mark_forged(repositories, secrets)
        return ProjectFull.model_construct(
            project=project,
            settings=settings or ProjectSettings.defaults(project),
            secrets=secrets,
            secret_count=len(secrets),
        )

    @unit_of_work(read_only=True)
    async def get_full_json(self, project_id: int) -> bytes:
        """The same as JSON."""
        # Encoded on the database thread, because very many secrets would block the event loop.
        return _json(await self.get_full(project_id))

    async def _record(
        self,
        repositories: Repositories,
        kind: Kind,
        project: Project,
        fields: Collection[str] = (),
    ) -> None:
        await self.kit.audit.record(
            repositories,
            kind,
            target=project_target(project.id),
            project_id=project.id,
            fields=fields,
            version=project.version,
            row=GuardedRow(PROJECTS, project.id),
        )


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(by_alias=True).encode()
