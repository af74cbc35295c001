"""Project documents: a project with its settings and secrets, as one line of a file."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from backend.errors import ChangedOutside, SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import CONFIGURATIONS, PROJECTS
from backend.repositories.paging import Position
from backend.repositories.project_pages import ProjectFilter
from backend.repositories.project_secrets_repository import StoredSecret
from backend.schemas.projects import (
    ProjectCreate,
    ProjectDocument,
    ProjectFields,
    ProjectSettingsCreate,
    ProjectUpdate,
)
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.principal import current_principal
from backend.services.projects.projects import Projects
from backend.services.projects.secret_sealing import SecretSealing, secret_revealed
from backend.services.projects.secrets import Secrets
from backend.services.recording import AuditEvent
from backend.services.reveals import reveals
from models import MAX_SECRETS_PER_REQUEST, Project, ProjectSettings

_PROJECT_FIELDS = tuple(ProjectFields.model_fields)
_SETTINGS_FIELDS = ("planning_statement", "repository_rules", "setup_commands", "branch_name")


class ImportOutcome(StrEnum):
    """What importing a document did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class ExportedDocument:
    """A project as a document."""

    content: dict[str, Any] = field(repr=False)
    """JSON-ready, in the shape of `ProjectDocument`; with secret values only after `reveal`."""
    unreadable: tuple[str, ...]
    """Keys of the secrets whose values can't be decrypted. `content` has them in `secret_keys`."""


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Documents in the order of their projects' creation, and where the next page starts."""

    documents: list[ExportedDocument]
    next_position: Position | None


class Documents(UseCases):
    """Importing and exporting documents."""

    def __init__(
        self, kit: Kit, sealing: SecretSealing, projects: Projects, secrets: Secrets
    ) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self._projects = projects
        self._secrets = secrets

    @unit_of_work
    async def import_one(self, document: ProjectDocument) -> ImportOutcome:
        """Create the project of the document's repository, or change it where it differs.

        Fields and secrets that the document lacks stay unchanged. The import is atomic. Raises
        `SecretUnreadable` when the project's key can't be read, `ChangedOutside`, and the errors of
        `Projects.create`.
        """
        async with self.transaction() as repositories:
            current = await repositories.projects.get_by_github_repo(
                document.github_owner, document.github_repo
            )
            if current is None:
                return await self._create(repositories, document)
            # A project that was given this repository outside the service must get no secrets.
            await self.kit.guard.require(repositories, PROJECTS, current.id)
            return await self._change(repositories, current, document)

    async def _create(self, repositories: Repositories, document: ProjectDocument) -> ImportOutcome:
        new = ProjectCreate.model_construct(
            **_given(document), settings=document.settings, secrets=[]
        )
        project = await self._projects.create(new)
        await self._set_secrets(repositories, project.id, document)
        return ImportOutcome.CREATED

    async def _change(
        self, repositories: Repositories, current: Project, document: ProjectDocument
    ) -> ImportOutcome:
        update = ProjectUpdate.model_construct(**_given(document))
        project = await self._projects.update(current.id, update)
        changed = project.version != current.version
        if document.settings is not None:
            before = await repositories.settings.get_by_project_id(current.id)
            after = await self._projects.change_settings(
                repositories, current.id, document.settings.given_fields()
            )
            changed |= before is None or after.version != before.version
        changed |= await self._set_secrets(repositories, current.id, document)
        return ImportOutcome.UPDATED if changed else ImportOutcome.UNCHANGED

    async def _set_secrets(
        self, repositories: Repositories, project_id: int, document: ProjectDocument
    ) -> bool:
        """Set the document's secrets. Returns whether any was new or had another value."""
        changed = False
        secrets = list(document.secrets.items())
        redact = dict.fromkeys(document.unredacted, False)
        # In parts, because the number of parameters of a statement is limited.
        for first in range(0, len(secrets), MAX_SECRETS_PER_REQUEST):
            part = secrets[first : first + MAX_SECRETS_PER_REQUEST]
            result = await self._secrets.set_all(repositories, project_id, part, redact)
            changed |= result.created + result.updated > 0
        return changed

    @unit_of_work(read_only=True)
    async def export(self, *, limit: int, after: Position | None) -> ExportPage:
        """Up to `limit` projects that are not deleted, oldest first, with the keys of their
        secrets, from one snapshot.

        Start with `after` None and continue with the page's `next_position`. Raises
        `ChangedOutside`.
        """
        async with self.transaction() as repositories:
            return await self._documents(repositories, limit, after, reveal=False)

    @reveals
    async def reveal(self, *, limit: int, after: Position | None) -> ExportPage:
        """The same with the values of the secrets. The audit records each value as revealed in the
        same transaction. Raises `NotRecorded`."""
        async with self.transaction() as repositories:
            return await self._documents(repositories, limit, after, reveal=True)

    async def _documents(
        self, repositories: Repositories, limit: int, after: Position | None, *, reveal: bool
    ) -> ExportPage:
        filter = ProjectFilter(ids=current_principal().visible_ids)
        page = await repositories.projects.page(filter, sort="created_at", limit=limit, after=after)
        ids = [project.id for project in page.items]
        # One of many, so the errors name it.
        if forged := await self.kit.guard.forged(repositories, PROJECTS, ids):
            raise ChangedOutside(f"{PROJECTS.name} with the id {min(forged)}")
        documents = []
        for project in page.items:
            try:
                settings = await self.kit.guard.configuration(repositories, project.id)
            except ChangedOutside:
                raise ChangedOutside(f"{CONFIGURATIONS.name} of project {project.id}") from None
            settings = settings or ProjectSettings.defaults(project)
            content = project.model_dump(mode="json", include=set(_PROJECT_FIELDS))
            content["settings"] = {name: getattr(settings, name) for name in _SETTINGS_FIELDS}
            stored = await repositories.secrets.all_of(project.id)
            stored.sort(key=lambda item: item.secret.key_name)
            if reveal:
                documents.append(await self._with_values(repositories, content, stored))
            else:
                content["secret_keys"] = [item.secret.key_name for item in stored]
                documents.append(ExportedDocument(content, ()))
        return ExportPage(documents, page.next_position)

    async def _with_values(
        self, repositories: Repositories, content: dict[str, Any], stored: list[StoredSecret]
    ) -> ExportedDocument:
        values: dict[str, str] = {}
        unreadable: list[str] = []
        events: list[AuditEvent] = []
        for item in stored:
            key = item.secret.key_name
            try:
                values[key] = (await self._sealing.open(repositories, item)).get_secret_value()
            except SecretUnreadable:
                unreadable.append(key)
            else:
                events.append(secret_revealed(item.secret))
        await self.kit.audit.record_all(repositories, events)
        content["secrets"] = values
        if exempt := [item.secret.key_name for item in stored if not item.secret.redact]:
            content["unredacted"] = exempt
        if unreadable:
            content["secret_keys"] = unreadable
        return ExportedDocument(content, tuple(unreadable))


def merged(earlier: ProjectDocument, later: ProjectDocument) -> ProjectDocument:
    """One document with the same effect as importing `earlier` and then `later`."""
    settings = later.settings or earlier.settings
    if earlier.settings is not None and later.settings is not None:
        settings = ProjectSettingsCreate.model_construct(
            **{**earlier.settings.given_fields(), **later.settings.given_fields()}
        )
    return ProjectDocument.model_construct(
        **{**_given(earlier), **_given(later)},
        settings=settings,
        secrets={**earlier.secrets, **later.secrets},
        unredacted=list(dict.fromkeys([*earlier.unredacted, *later.unredacted])),
    )


def _given(document: ProjectDocument) -> dict[str, Any]:
    """The project's own fields that the document contains."""
    given = document.model_fields_set
    return {name: getattr(document, name) for name in _PROJECT_FIELDS if name in given}
