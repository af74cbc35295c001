"""All repositories of one database, and the migration of its schema."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from backend.repositories.agent_run_repository import AgentRunRepository
from backend.repositories.api_token_repository import ApiTokenRepository
from backend.repositories.audit_repository import AuditRepository
from backend.repositories.audit_retention_repository import AuditRetentionRepository
from backend.repositories.configuration_versions_repository import (
    ConfigurationVersionsRepository,
)
from backend.repositories.events_repository import EventsRepository
from backend.repositories.following_index import ProjectIndexRepository, RunIndexRepository
from backend.repositories.grainchain_snapshot_repository import GrainchainSnapshotRepository
from backend.repositories.guarded_rows import GuardedRowsRepository
from backend.repositories.key_rotation_repository import KeyRotationRepository
from backend.repositories.keys_repository import KeysRepository
from backend.repositories.message_repository import MessageRepository
from backend.repositories.pipeline_state_repository import PipelineStateRepository
from backend.repositories.project_repository import ProjectRepository
from backend.repositories.project_secrets_repository import ProjectSecretsRepository
from backend.repositories.project_settings_repository import ProjectSettingsRepository
from backend.repositories.retention_repository import RetentionRepository
from backend.repositories.run_queue_repository import RunQueueRepository
from backend.repositories.sealed_repository import SealedRepository
from backend.repositories.secret_versions_repository import SecretVersionsRepository
from backend.repositories.session_repository import SessionRepository
from backend.repositories.stored_answer_repository import StoredAnswerRepository
from backend.repositories.stored_texts_repository import StoredTextsRepository
from backend.repositories.system_log_repository import SystemLogRepository
from backend.repositories.test_attempt_repository import TestAttemptRepository
from backend.repositories.test_result_repository import TestResultRepository
from backend.repositories.version_rows import VersionRowsRepository
from backend.repositories.webhook_delivery_repository import WebhookDeliveryRepository
from backend.repositories.webhook_repository import WebhookRepository
from database.base import Clock, TableAccess, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Executor
from database.migrator import migrate

R = TypeVar("R", bound=TableAccess)

__all__ = ["Repositories", "initialize_database"]


class _Table(Generic[R]):
    """A repository attribute, bound on first use to the executor of its `Repositories`."""

    def __init__(self, make: Callable[..., R]) -> None:
        self.make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, repositories: "Repositories", owner: type) -> R:
        # This descriptor has no `__set__`, so later look-ups find the instance's attribute.
        bound: R = repositories.roots[self._name].using(repositories.executor)
        repositories.__dict__[self._name] = bound
        return bound


class Repositories:
    """All repositories of one database."""

    projects = _Table(ProjectRepository)
    project_index = _Table(ProjectIndexRepository)
    settings = _Table(ProjectSettingsRepository)
    secrets = _Table(ProjectSecretsRepository)
    configuration_versions = _Table(ConfigurationVersionsRepository)
    secret_versions = _Table(SecretVersionsRepository)
    version_rows = _Table(VersionRowsRepository)
    keys = _Table(KeysRepository)
    tokens = _Table(ApiTokenRepository)
    sessions = _Table(SessionRepository)
    audit = _Table(AuditRepository)
    events = _Table(EventsRepository)
    guarded_rows = _Table(GuardedRowsRepository)
    rotations = _Table(KeyRotationRepository)
    sealed = _Table(SealedRepository)
    runs = _Table(AgentRunRepository)
    run_index = _Table(RunIndexRepository)
    run_queues = _Table(RunQueueRepository)
    pipeline_states = _Table(PipelineStateRepository)
    messages = _Table(MessageRepository)
    test_results = _Table(TestResultRepository)
    test_attempts = _Table(TestAttemptRepository)
    snapshots = _Table(GrainchainSnapshotRepository)
    webhooks = _Table(WebhookRepository)
    deliveries = _Table(WebhookDeliveryRepository)
    logs = _Table(SystemLogRepository)
    answers = _Table(StoredAnswerRepository)
    stored_texts = _Table(StoredTextsRepository)
    retention = _Table(RetentionRepository)
    audit_retention = _Table(AuditRetentionRepository)

    def __init__(self, db_manager: DatabaseManager, clock: Clock = utc_now) -> None:
        self.executor: Executor = db_manager.async_pool
        self.roots: dict[str, Any] = {
            name: table.make(db_manager, clock=clock)
            for name, table in vars(type(self)).items()
            if isinstance(table, _Table)
        }

    def using(self, executor: Executor) -> "Repositories":
        """The same repositories, working inside `executor`, which is usually a transaction."""
        bound = object.__new__(Repositories)
        bound.roots = self.roots
        bound.executor = executor
        return bound


def initialize_database(db_manager: DatabaseManager) -> list[str]:
    """Apply the pending migrations. Returns their names in order.

    Call it before the asynchronous pool opens. Raises `MigrationError` when a migration fails; the
    schema is then as it was before that migration.
    """
    with db_manager.sync_pool.connection() as connection:
        return migrate(connection)
