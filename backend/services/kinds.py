"""The kinds of entries in the record, and the scope that may see each."""

from enum import StrEnum
from typing import Self

from models import Scope


class Kind(StrEnum):
    """What happened: `<thing>.<verb in past tense>`. docs/access.md says when each is recorded."""

    def __new__(cls, name: str, scope: Scope) -> Self:
        """A kind of entries that a token with `scope` may see."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.scope = scope
        return kind

    scope: Scope
    """The scope that sees the entries of this kind, usually the one that reads the thing. In the
    audit, `audit:read` sees all kinds."""

    PROJECT_CREATED = "project.created", Scope.PROJECTS_READ
    PROJECT_UPDATED = "project.updated", Scope.PROJECTS_READ
    PROJECT_DELETED = "project.deleted", Scope.PROJECTS_READ
    PROJECT_RESTORED = "project.restored", Scope.PROJECTS_READ
    PROJECT_PURGED = "project.purged", Scope.PROJECTS_READ
    SETTINGS_CREATED = "settings.created", Scope.PROJECTS_READ
    SETTINGS_UPDATED = "settings.updated", Scope.PROJECTS_READ
    SETTINGS_ROLLED_BACK = "settings.rolled_back", Scope.PROJECTS_READ
    SECRET_CREATED = "secret.created", Scope.PROJECTS_READ
    SECRET_UPDATED = "secret.updated", Scope.PROJECTS_READ
    SECRET_ROLLED_BACK = "secret.rolled_back", Scope.PROJECTS_READ
    SECRET_REENCRYPTED = "secret.reencrypted", Scope.ADMIN
    SECRET_DELETED = "secret.deleted", Scope.PROJECTS_READ
    SECRET_RESTORED = "secret.restored", Scope.PROJECTS_READ
    SECRET_PURGED = "secret.purged", Scope.PROJECTS_READ
    SECRET_VERSION_DESTROYED = "secret.version_destroyed", Scope.PROJECTS_READ
    SECRET_REVEALED = "secret.revealed", Scope.AUDIT_READ
    SECRET_REVEAL_REFUSED = "secret.reveal_refused", Scope.AUDIT_READ
    SECRET_LEAKED = "secret.leaked", Scope.PROJECTS_READ
    SECRET_SCANNED = "secret.scanned", Scope.AUDIT_READ
    AGENT_RUN_CREATED = "agent_run.created", Scope.RUNS_READ
    AGENT_RUN_UPDATED = "agent_run.updated", Scope.RUNS_READ
    AGENT_RUN_CLAIMED = "agent_run.claimed", Scope.RUNS_READ
    AGENT_RUN_STARTED = "agent_run.started", Scope.RUNS_READ
    AGENT_RUN_PAUSED = "agent_run.paused", Scope.RUNS_READ
    AGENT_RUN_RESUMED = "agent_run.resumed", Scope.RUNS_READ
    AGENT_RUN_COMPLETED = "agent_run.completed", Scope.RUNS_READ
    AGENT_RUN_FAILED = "agent_run.failed", Scope.RUNS_READ
    AGENT_RUN_CANCELLED = "agent_run.cancelled", Scope.RUNS_READ
    AGENT_RUN_REQUEUED = "agent_run.requeued", Scope.RUNS_READ
    PIPELINE_STATE_ADDED = "pipeline_state.added", Scope.RUNS_READ
    MESSAGE_ADDED = "message.added", Scope.RUNS_READ
    TEST_RESULTS_STORED = "test_results.stored", Scope.RUNS_READ
    SNAPSHOT_CREATED = "snapshot.created", Scope.RUNS_READ
    SNAPSHOT_UPDATED = "snapshot.updated", Scope.RUNS_READ
    WEBHOOK_CREATED = "webhook.created", Scope.PROJECTS_READ
    WEBHOOK_UPDATED = "webhook.updated", Scope.PROJECTS_READ
    WEBHOOK_REENCRYPTED = "webhook.reencrypted", Scope.ADMIN
    WEBHOOK_DELETED = "webhook.deleted", Scope.PROJECTS_READ
    DELIVERY_RECEIVED = "delivery.received", Scope.PROJECTS_READ
    TOKEN_CREATED = "token.created", Scope.ADMIN
    TOKEN_REVOKED = "token.revoked", Scope.ADMIN
    TOKEN_UNKNOWN_REFUSED = "token.unknown_refused", Scope.ADMIN
    SESSION_CREATED = "session.created", Scope.ADMIN
    SESSION_ENDED = "session.ended", Scope.ADMIN
    SESSION_EXPIRED = "session.expired", Scope.ADMIN
    ROWS_GUARDING_STARTED = "rows.guarding_started", Scope.ADMIN
    ROWS_GUARDED = "rows.guarded", Scope.ADMIN
    ROWS_GUARDING_FINISHED = "rows.guarding_finished", Scope.ADMIN
    KEYS_ROTATION_STARTED = "keys.rotation_started", Scope.ADMIN
    KEYS_ROTATION_FINISHED = "keys.rotation_finished", Scope.ADMIN
    BACKUP_CREATED = "backup.created", Scope.ADMIN
    RETENTION_APPLIED = "retention.applied", Scope.ADMIN
    AUDIT_LOSS_FOUND = "audit.loss_found", Scope.ADMIN
