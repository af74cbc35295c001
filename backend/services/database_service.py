"""All use cases in one object, by family: `service.projects.create(…)`."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from backend.errors import ValidationFailed
from backend.schemas.base import RequestModel
from backend.schemas.projects import ProjectCreate
from backend.schemas.secrets import SecretsUpsert
from backend.services.access.sessions import Sessions
from backend.services.access.tokens import Tokens
from backend.services.access.unknown_tokens import UnknownTokens
from backend.services.audit.audit import Audit
from backend.services.audit.guarding import Guarding
from backend.services.audit.row_verification import RowVerification
from backend.services.base import Kit, UseCases
from backend.services.events.events import Events
from backend.services.idempotency.idempotency import Idempotency
from backend.services.logs.logs import Logs
from backend.services.operations.backups import Backups
from backend.services.operations.encryption_check import EncryptionCheck
from backend.services.operations.key_rotation import KeyRotation
from backend.services.operations.log_indexing import LogIndexing
from backend.services.operations.readiness import ReadinessProbe
from backend.services.operations.retention import Retention
from backend.services.operations.search_index import SearchIndex
from backend.services.projects.configuration_history import ConfigurationHistory
from backend.services.projects.documents import Documents
from backend.services.projects.projects import Projects
from backend.services.projects.refused_reveals import RefusedReveals
from backend.services.projects.secret_files import SecretFiles
from backend.services.projects.secret_history import SecretHistory
from backend.services.projects.secret_scan import SecretScan
from backend.services.projects.secret_sealing import SecretSealing
from backend.services.projects.secrets import Secrets
from backend.services.runs.backlog import Backlog
from backend.services.runs.claims import Claims
from backend.services.runs.messages import Messages
from backend.services.runs.pipeline_states import PipelineStates
from backend.services.runs.runs import Runs
from backend.services.runs.snapshots import Snapshots
from backend.services.runs.test_results import TestResults
from backend.services.webhooks.deliveries import Deliveries
from backend.services.webhooks.webhooks import Webhooks
from models import Project

Request = TypeVar("Request", bound=RequestModel)


class DatabaseService(UseCases):
    """The interface for routes, commands and scripts: each method is one atomic use case.

    Every method raises `StrongroomError` for errors that the caller can correct, and
    `DatabaseError` for failures of the database. After an error, nothing has changed.
    """

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.sealing = SecretSealing(kit)
        self.projects = Projects(kit, self.sealing)
        self.project_index = SearchIndex(kit, "project_index")
        self.run_index = SearchIndex(kit, "run_index")
        self.secrets = Secrets(kit, self.sealing)
        self.configuration_history = ConfigurationHistory(kit)
        self.secret_history = SecretHistory(kit, self.sealing)
        self.secret_files = SecretFiles(kit, self.sealing)
        self.secret_scan = SecretScan(kit, self.sealing)
        self.refused_reveals = RefusedReveals(kit)
        self.documents = Documents(kit, self.sealing, self.projects, self.secrets)
        self.runs = Runs(kit)
        self.claims = Claims(kit)
        self.backlog = Backlog(kit)
        self.pipeline_states = PipelineStates(kit)
        self.messages = Messages(kit, self.runs)
        self.test_results = TestResults(kit)
        self.snapshots = Snapshots(kit)
        self.webhooks = Webhooks(kit, self.sealing)
        self.deliveries = Deliveries(kit)
        self.logs = Logs(kit)
        self.events = Events(kit)
        self.retention = Retention(kit)
        self.tokens = Tokens(kit)
        self.sessions = Sessions(kit, self.tokens)
        self.unknown_tokens = UnknownTokens(kit)
        self.encryption_check = EncryptionCheck(kit)
        self.rotation = KeyRotation(kit, self.sealing)
        self.audit = Audit(kit)
        self.guarding = Guarding(kit)
        self.row_verification = RowVerification(kit)
        self.backups = Backups(kit)
        self.log_indexing = LogIndexing(kit)
        self.commits = kit.commits
        self.idempotency = Idempotency(kit)
        self.readiness = ReadinessProbe(kit, self.log_indexing)
        # From now on, units check whether their token has ended.
        kit.gate = self.tokens

    async def create_project_with_settings(
        self, project_data: dict[str, Any], settings_data: dict[str, Any]
    ) -> Project:
        """Create a project with its settings, in one transaction, and return the project.

        Raises `ValidationFailed`, and `ProjectExists` when another project has the repository.
        """
        data = {**project_data, "settings": settings_data}
        return await self.projects.create(validated(ProjectCreate, data))

    async def get_project_full_config(self, project_id: int) -> dict[str, Any]:
        """`{"project", "settings", "secrets", "secret_count"}` from one snapshot, as JSON-ready
        data; secrets without their values. Raises `ProjectNotFound`."""
        full = await self.projects.get_full(project_id)
        return full.model_dump(mode="json")

    async def update_project_secrets(self, project_id: int, secrets: list[dict[str, str]]) -> bool:
        """Set all of `secrets`, each `{"key": …, "value": …}`, in one transaction. Returns whether
        anything changed. Raises `ProjectNotFound` and `ValidationFailed`."""
        request = validated(SecretsUpsert, {"secrets": secrets})
        result = await self.secrets.upsert(project_id, request.secrets)
        return result.created + result.updated > 0


def validated(shape: type[Request], data: Mapping[str, Any]) -> Request:
    """`data` as a request. Raises `ValidationFailed`, which repeats no value."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise ValidationFailed(details) from None
