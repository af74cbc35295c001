"""The unit of work over all repositories: every use case, under one name."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from backend.errors import ValidationFailed
from backend.services.access.tokens import TokenUseCases
from backend.services.audit.audit import AuditUseCases
from backend.services.logs.logs import LogUseCases
from backend.services.operations.backups import BackupUseCases
from backend.services.operations.encryption_check import MaintenanceUseCases
from backend.services.operations.key_rotation import KeyRotationUseCases
from backend.services.operations.readiness import ReadinessUseCases
from backend.services.operations.retention import RetentionUseCases
from backend.services.projects.documents import DocumentUseCases
from backend.services.projects.projects import ProjectUseCases
from backend.services.projects.secrets import SecretUseCases
from backend.services.runs.backlog import RunBacklogUseCases
from backend.services.runs.claims import RunClaimUseCases
from backend.services.runs.pipeline_states import PipelineUseCases
from backend.services.runs.runs import RunUseCases
from backend.services.runs.snapshots import SnapshotUseCases
from backend.services.runs.test_results import TestResultUseCases
from backend.services.webhooks.deliveries import DeliveryUseCases
from models import Project, ProjectCreate, RequestModel, SecretsUpsert

Request = TypeVar("Request", bound=RequestModel)


class DatabaseService(
    DocumentUseCases,
    ProjectUseCases,
    SecretUseCases,
    RunUseCases,
    RunClaimUseCases,
    RunBacklogUseCases,
    PipelineUseCases,
    TestResultUseCases,
    SnapshotUseCases,
    DeliveryUseCases,
    LogUseCases,
    RetentionUseCases,
    TokenUseCases,
    MaintenanceUseCases,
    KeyRotationUseCases,
    AuditUseCases,
    BackupUseCases,
    ReadinessUseCases,
):
    """What routes, commands and scripts call: one method is one use case, and atomic.

    Every method raises `StrongroomError` for what a caller can set right, and `DatabaseError` for
    failures of the database; whatever is raised, nothing has changed.
    """

    async def create_project_with_settings(
        self, project_data: dict[str, Any], settings_data: dict[str, Any]
    ) -> Project:
        """A new project with its settings, or nothing.

        Raises `ValidationFailed`, and `ProjectExists` when its repository belongs to another one.
        """
        data = {**project_data, "settings": settings_data}
        return await self.create_project(validated(ProjectCreate, data))

    async def get_project_full_config(self, project_id: int) -> dict[str, Any]:
        """`{"project", "settings", "secrets", "secret_count"}` of one moment, as JSON-ready data;
        secrets without their values. Raises `ProjectNotFound`."""
        full = await self.get_full(project_id)
        return full.model_dump(mode="json")

    async def update_project_secrets(self, project_id: int, secrets: list[dict[str, str]]) -> bool:
        """Set all of `secrets`, each `{"key": …, "value": …}`, in one transaction; whether
        anything changed. Raises `ProjectNotFound` and `ValidationFailed`."""
        request = validated(SecretsUpsert, {"secrets": secrets})
        result = await self.upsert_secrets(project_id, request.secrets)
        return result.created + result.updated > 0


def validated(shape: type[Request], data: Mapping[str, Any]) -> Request:
    """`data` as a request. Raises `ValidationFailed`, which repeats none of the values."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise ValidationFailed(details) from None
