"""What the service answers, as pydantic models. `make schema` writes this file.

They take what a newer service sends as well: they ignore fields that they do not know, and a
`Literal` holds any text when the program runs. No `repr` shows a value of a secret or a token.
"""

# ruff: noqa: E501

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema
from pydantic_core import core_schema

_AnyText = GetPydanticSchema(lambda _type, _handler: core_schema.str_schema())


class Model(BaseModel):
    """Base of all models."""

    model_config = ConfigDict(
        hide_input_in_errors=True, populate_by_name=True, protected_namespaces=()
    )
    # Otherwise pytest takes a model whose name begins with Test for tests.
    __test__: ClassVar[bool] = False


class VersionedModel(Model):
    """Base of what has versions."""

    version: int

    @property
    def etag(self) -> str:
        """The entity tag of this version, for `if_match` and `if_none_match`."""
        return f'"v{self.version}"'


RunStatus = Annotated[
    Literal["pending", "running", "paused", "completed", "failed", "cancelled"], _AnyText
]

RunType = Annotated[Literal["regular", "plan", "pr"], _AnyText]

ValidationStatus = Annotated[Literal["pending", "running", "passed", "failed", "skipped"], _AnyText]


class AgentRun(VersionedModel):
    id: int
    created_at: datetime
    updated_at: datetime
    project_id: int
    run_number: int
    target_text: str
    planning_statement: str | None
    run_type: RunType
    status: RunStatus
    result: str | None
    error_message: str | None
    pr_number: int | None
    pr_url: str | None
    web_url: str | None
    codegen_run_id: str | None
    validation_status: ValidationStatus
    auto_merge_enabled: bool
    merge_completed: bool
    metadata: dict[str, Any]
    settings_version: int | None
    started_at: datetime | None
    completed_at: datetime | None


class AgentRunList(Model):
    agent_runs: list[AgentRun]
    next_cursor: str | None


Attempts = Annotated[Literal["last", "all"], _AnyText]
"""Which attempts of tests a list has."""


class AuditEntry(Model):
    """Who did what to what, and when."""

    id: int
    at: datetime
    actor: str
    """The name of the token; `system` for the service and its commands."""
    actor_token_id: int | None
    action: str
    target: str
    project_id: int | None
    fields: list[str]
    """The names of the changed fields; never a value."""
    request_id: str | None
    version: int | None
    """The version that the target got; null where it has none."""
    address: str | None
    """The client's address; null for commands and the service itself."""


class AuditList(Model):
    entries: list[AuditEntry]
    next_cursor: str | None


class BackupVerified(Model):
    """What was verified in the backup before it was published."""

    integrity: bool
    """Whether every page, table and index of the file is intact."""
    references: bool
    """Whether every row that another row refers to exists."""
    schema_version: int
    """The number of the newest migration in the backup."""
    master_keys: list[str]
    """Ids of the master keys needed to read the backup, each checked against its canary. The keys themselves are not in the backup."""
    audit_entries: int
    """Length of the audit chain, checked against the heads exported before."""
    rows: dict[str, int]
    """Rows by table, as many as the database had."""


class BackupCreated(Model):
    """A backup that has just been made and verified."""

    name: str
    size_bytes: int
    created_at: datetime
    sha256: str
    duration_seconds: float
    verified: BackupVerified


class Backup(Model):
    """A file that `strongroom restore` takes."""

    name: str
    size_bytes: int
    created_at: datetime


class BackupList(Model):
    backups: list[Backup]
    next_cursor: str | None


class ClaimedRun(AgentRun):
    """A run that was given to a worker. Only this answer shows the lease token."""

    lease_expires_at: datetime
    lease_token: str = Field(repr=False)


class ClaimedRuns(Model):
    """The runs that were given to a worker that asked for several."""

    agent_runs: list[ClaimedRun]


class ConfigurationDiff(Model):
    """The differences between two versions of a configuration."""

    from_: int = Field(alias="from")
    to: int
    fields: dict[str, str]
    """The fields that differ, each with a unified diff of its lines; `/dev/null` stands for null."""


VersionStatus = Annotated[Literal["ok", "unreadable", "destroyed"], _AnyText]


class ConfigurationVersion(Model):
    """A version of a configuration, without its content."""

    version: int
    created_at: datetime
    """When this version was made."""
    actor: str | None
    """Who made it; null for a version from before versions were kept."""
    status: VersionStatus
    fields: list[str] | None
    """The names of the fields that it changed; null if they are not known."""


class ConfigurationVersionList(Model):
    versions: list[ConfigurationVersion]
    next_cursor: str | None


class Event(Model):
    """A change, as seen from outside."""

    id: int
    """Rises by one from each event to the next."""
    at: datetime
    kind: str
    project_id: int | None
    resource: str
    """The path of the changed resource below `/api/`."""
    version: int | None
    """The version that the resource got; null where it has none."""
    actor: str
    """The name of the token; `system` for the service and its commands."""
    fields: list[str]
    """The names of the changed fields; never a value."""


class EventList(Model):
    """A page of events."""

    events: list[Event]
    next_cursor: str | None


class ExportedAuditEntry(Model):
    """An entry with the MAC that proves it."""

    id: int
    at: datetime
    actor: str
    """The name of the token; `system` for the service and its commands."""
    actor_token_id: int | None
    action: str
    target: str
    project_id: int | None
    fields: list[str]
    """The names of the changed fields; never a value."""
    request_id: str | None
    version: int | None
    """The version that the target got; null where it has none."""
    address: str | None
    """The client's address; null for commands and the service itself."""
    digest: str | None
    mac: str
    previous_mac: str | None
    """The MAC of the entry before, if that was removed for its age; else null."""


SnapshotStatus = Annotated[
    Literal["creating", "ready", "running", "completed", "failed", "destroyed"], _AnyText
]


class GrainchainSnapshot(VersionedModel):
    id: int
    created_at: datetime
    updated_at: datetime
    agent_run_id: int
    snapshot_id: str
    status: SnapshotStatus
    config: dict[str, Any]
    validation_results: dict[str, Any] | None
    error_message: str | None
    destroyed_at: datetime | None


class Health(Model):
    status: str
    """By default `"healthy"`."""
    service: str
    """By default `"strongroom"`."""


class MasterKeyStatus(Model):
    """What one master key protects."""

    id: str
    configured: bool
    current: bool
    """Whether new keys are wrapped under this key."""
    installation: bool
    """Whether the installation's own key is wrapped under it."""
    project_keys: int
    secrets: int
    answer_keys: int
    """Keys of the answers that are stored for idempotency keys: one, and more during a rotation."""
    removable: bool
    """Whether the key can be removed from the configuration, because nothing needs it."""


class RotationProgress(Model):
    """The progress of a rotation. `total` is the sum of `done`, `failed` and the keys still to
    do."""

    id: int
    status: Annotated[Literal["running", "finished"], _AnyText]
    reencrypt: bool
    total: int
    """Keys: one for each project, the installation's own, and those of stored answers."""
    done: int
    failed: int
    """Keys that can't be read, or that protect values that can't be read."""
    started_at: datetime
    finished_at: datetime | None


class KeyStatus(Model):
    keys: list[MasterKeyStatus]
    rotation: RotationProgress | None
    """The latest rotation, if there was one."""


Kind = Annotated[
    Literal[
        "project.created",
        "project.updated",
        "project.deleted",
        "project.restored",
        "project.purged",
        "settings.created",
        "settings.updated",
        "settings.rolled_back",
        "secret.created",
        "secret.updated",
        "secret.rolled_back",
        "secret.reencrypted",
        "secret.deleted",
        "secret.restored",
        "secret.purged",
        "secret.version_destroyed",
        "secret.revealed",
        "secret.reveal_refused",
        "secret.leaked",
        "secret.scanned",
        "agent_run.created",
        "agent_run.updated",
        "agent_run.claimed",
        "agent_run.started",
        "agent_run.paused",
        "agent_run.resumed",
        "agent_run.completed",
        "agent_run.failed",
        "agent_run.cancelled",
        "agent_run.requeued",
        "pipeline_state.added",
        "message.added",
        "test_results.stored",
        "snapshot.created",
        "snapshot.updated",
        "webhook.created",
        "webhook.updated",
        "webhook.reencrypted",
        "webhook.deleted",
        "delivery.received",
        "token.created",
        "token.revoked",
        "token.unknown_refused",
        "session.created",
        "session.ended",
        "session.expired",
        "rows.guarding_started",
        "rows.guarded",
        "rows.guarding_finished",
        "keys.rotation_started",
        "keys.rotation_finished",
        "backup.created",
        "retention.applied",
        "audit.loss_found",
    ],
    _AnyText,
]
"""What happened: `<thing>.<verb in past tense>`. docs/access.md says when each is recorded."""


class LeasedRun(AgentRun):
    """A run, and when its lease expires without another heartbeat."""

    lease_expires_at: datetime


ProjectStatus = Annotated[Literal["active", "inactive", "archived", "deleted"], _AnyText]


class Project(VersionedModel):
    id: int
    created_at: datetime
    updated_at: datetime
    name: str
    github_owner: str
    github_repo: str
    status: ProjectStatus
    webhook_url: str | None
    auto_merge_enabled: bool
    auto_confirm_plans: bool


class CurrentRun(Model):
    """The run that a project is working on, without its texts."""

    id: int
    run_number: int
    run_type: RunType
    status: RunStatus
    validation_status: ValidationStatus
    pr_number: int | None
    pr_url: str | None
    started_at: datetime | None
    updated_at: datetime


class ProjectRuns(Model):
    """What the runs of a project are like."""

    total: int
    active: int
    """Runs that have not ended: pending, running and paused ones."""
    success_rate: float | None
    """Completed runs as a share of completed and failed ones, 0 to 1; null without any."""
    current: CurrentRun | None
    """The newest running run; without one the newest paused one, and then the pending one that is next."""
    last_completed_at: datetime | None
    """When a run ended last, in any status."""


class ListedProject(Project):
    """A project in a list."""

    runs: ProjectRuns | None = None
    """What its runs are like; only with `include=runs`."""


class ListedProjects(Model):
    projects: list[ListedProject]
    next_cursor: str | None


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], _AnyText]


class LogEntry(VersionedModel):
    """One log. It gets its `created_at` when it is stored."""

    level: LogLevel
    """In any case; also `warn`, `fatal` (`CRITICAL`) and `trace` (`DEBUG`)."""
    message: str
    agent_run_id: int | None = None
    """A run of the project."""
    component: str | None = None
    """Anything but `strongroom` and names that begin with `strongroom.`."""
    context: dict[str, Any] | None = None
    """Any JSON object of at most 64 KiB as compact UTF-8 and 64 levels, returned as it was sent. A number that could not be returned unchanged is refused."""
    correlation_id: str | None = None
    project_id: int | None = None
    """By default the project of the run, if there is one."""
    timestamp: datetime | None = None
    """When it happened, with a zone; null if that is not known."""


class SystemLog(Model):
    id: int
    created_at: datetime
    level: LogLevel
    message: str
    component: str | None
    context: dict[str, Any]
    correlation_id: str | None
    project_id: int | None
    agent_run_id: int | None
    timestamp: datetime | None


class LogList(Model):
    logs: list[SystemLog]
    next_cursor: str | None


class LogsAccepted(Model):
    accepted: int
    """How many logs were stored."""


MessageRole = Annotated[Literal["user", "agent", "system"], _AnyText]


class Message(Model):
    """What a person, the agent or a program around it says in a run."""

    id: int
    created_at: datetime
    agent_run_id: int
    role: MessageRole
    content: str


class MessageList(Model):
    messages: list[Message]
    next_cursor: str | None


PipelineStateName = Annotated[
    Literal[
        "created",
        "webhook_setup",
        "agent_running",
        "plan_confirmation",
        "pr_created",
        "snapshot_creating",
        "deployment_running",
        "testing",
        "validation_complete",
        "auto_merging",
        "completed",
        "failed",
        "cancelled",
    ],
    _AnyText,
]


class PipelineStateEntry(Model):
    """A state in a run's history."""

    id: int
    created_at: datetime
    agent_run_id: int
    state: PipelineStateName
    previous_state: PipelineStateName | None
    metadata: dict[str, Any]
    duration_seconds: float | None
    """Seconds until the next state; null for the last one."""


class PipelineHistory(Model):
    """A run with its states, oldest first."""

    agent_run: AgentRun
    pipeline_states: list[PipelineStateEntry]
    next_cursor: str | None


class ProjectSettings(VersionedModel):
    id: int
    created_at: datetime
    updated_at: datetime
    project_id: int
    planning_statement: str | None
    repository_rules: str | None
    setup_commands: str | None
    branch_name: str


SecretStatus = Annotated[Literal["ok", "unreadable"], _AnyText]


class SecretMetadata(VersionedModel):
    """A secret without its value: `value` is always null."""

    id: int
    project_id: int
    key: str
    value: Any = Field(repr=False)
    """Always null."""
    status: SecretStatus
    redact: bool
    """Whether the value is replaced where it stands in logs, results, error messages and metadata that are stored from now on."""
    created_at: datetime
    updated_at: datetime


class ProjectFull(Model):
    project: Project
    settings: ProjectSettings
    secrets: list[SecretMetadata]
    secret_count: int


class Removed(Model):
    """How many rows were removed."""

    logs: int
    """By default `0`."""
    own_logs: int
    """By default `0`."""
    runs: int
    """By default `0`."""
    deliveries: int
    """By default `0`."""
    answers: int
    """By default `0`."""
    configuration_versions: int
    """By default `0`."""
    secret_versions: int
    """By default `0`."""
    deleted_secrets: int
    """By default `0`."""
    audit: int
    """By default `0`."""


class PruneProgress(Model):
    """The latest removal since the server started."""

    status: Annotated[Literal["running", "completed", "interrupted"], _AnyText]
    removed: Removed
    started_at: datetime
    finished_at: datetime | None


class LogsToIndex(Model):
    """How far the logs that an earlier version stored are indexed again."""

    total: int
    """An upper bound on the number of logs."""
    done: int


class ReadinessCheck(Model):
    status: Annotated[Literal["ok", "failed", "full"], _AnyText]
    detail: str | None


class ReadinessChecks(Model):
    database: ReadinessCheck
    migrations: ReadinessCheck
    keys: ReadinessCheck
    writer_queue: ReadinessCheck
    writes: ReadinessCheck


class RowsToIndex(Model):
    """How far an index that searches use is made."""

    total: int
    """An upper bound on the number of rows."""
    done: int


class Readiness(Model):
    status: Annotated[Literal["ready", "not_ready"], _AnyText]
    checks: ReadinessChecks
    log_words: LogsToIndex | None = None
    """Only while logs of an earlier version are being indexed."""
    project_index: RowsToIndex | None = None
    """Only while searches for projects are slow, because more than 5,000 are not indexed."""
    run_index: RowsToIndex | None = None
    """The same for runs."""


class Limit(Model):
    """Null means no limit. Whatever exceeds either limit is removed."""

    days: int | None
    """Rows older than this are removed."""
    newest: int | None
    """How many of the newest rows are kept."""


class RetentionLimits(Model):
    """For runs, `days` counts from their end, `newest` is for each project, and unfinished ones
    always stay."""

    logs: Limit
    own_logs: Limit
    """The service's own warnings and errors, which are stored as logs."""
    runs: Limit
    deliveries: Limit
    configuration_versions: Limit
    """Only `newest`, for each configuration, with its present version. Those that runs refer to stay."""
    secret_versions: Limit
    """Only `newest`, for each secret, with its present version."""
    deleted_secrets: Limit
    """Only `days`: how long a deleted secret can be restored."""
    audit: Limit
    """Only `days`. The newest entry of each guarded row stays, however old it is."""


class Removable(Model):
    rows: int
    bytes: int
    """About how much space the rows take in the file, with their indexes."""


class RetentionPlan(Model):
    """What exceeds the limits now."""

    logs: Removable
    own_logs: Removable
    runs: Removable
    """Runs, with their states, messages, results and snapshots."""
    deliveries: Removable
    answers: Removable
    """Answers that were stored for idempotency keys, more than 24 hours old."""
    configuration_versions: Removable
    secret_versions: Removable
    deleted_secrets: Removable
    """Secrets whose values will be destroyed; their keys and last numbers stay."""
    audit: Removable


class RetentionStatus(Model):
    limits: RetentionLimits
    would_remove: RetentionPlan
    prune: PruneProgress | None


RevealFormat = Annotated[Literal["json", "dotenv", "docker"], _AnyText]
"""How revealed values are written."""

Scope = Annotated[
    Literal[
        "projects:read",
        "projects:write",
        "secrets:write",
        "secrets:reveal",
        "runs:read",
        "runs:write",
        "logs:read",
        "logs:write",
        "audit:read",
        "admin",
    ],
    _AnyText,
]
"""What a token may do; `admin` allows everything."""


class RejectedLine(Model):
    """A line that can't be imported, without its content."""

    line: int
    code: str
    message: str


class SecretImport(Model):
    """What an import does with the variables of a file: their keys, in the order of the file."""

    created: list[str]
    updated: list[str]
    unchanged: list[str]
    rejected: list[RejectedLine]
    """Lines that can't be imported. Empty unless it is a preview, because otherwise a file with such a line gets 422."""


class SecretList(Model):
    secrets: list[SecretMetadata]
    next_cursor: str | None


class SecretReveal(Model):
    key: str
    value: str = Field(repr=False)
    version: int


class FoundSecret(Model):
    """A place where a secret's value stands."""

    key: str
    resource: str
    """What has the value: `GET /api/<resource>` shows it. `logs` are those of the project, and `agent-runs/7/logs` those of a run, which are logs with `agent_run_id`."""
    count: int
    """How often the value stands there, as it is or encoded."""
    fields: list[str]
    """The fields that have it."""
    first_at: datetime
    """When the oldest of these rows was stored."""
    last_at: datetime
    """When the newest of these rows was stored."""


SkippedSecretReason = Annotated[Literal["too_short", "unreadable"], _AnyText]
"""Why a secret was not looked for."""


class SkippedSecret(Model):
    """A secret that was not looked for."""

    key: str
    reason: SkippedSecretReason
    """`too_short`: its value has fewer than 12 characters, which stand in ordinary text too often; `unreadable`: its value can't be decrypted."""


class SecretScanResult(Model):
    """Where the present values of a project's secrets stand."""

    found: list[FoundSecret]
    """Up to about 500 places. A resource with many rows, such as the logs, may be in several answers of a scan: add up the counts."""
    skipped: list[SkippedSecret]
    """The secrets that were not looked for; only in the first answer of a scan."""
    missing_scopes: list[str]
    """Scopes that the token lacks: what they show was not searched."""
    next_cursor: str | None
    """Send it as `cursor` to go on; null when all texts were searched."""


class SecretUpsertResult(Model):
    created: int
    updated: int
    unchanged: int


class SecretVersion(Model):
    """A version of a secret, without its value."""

    version: int
    created_at: datetime
    """When this version was made."""
    actor: str | None
    """Who made it; null for a version from before versions were kept."""
    status: VersionStatus
    fields: list[str]
    """Always `value`."""
    deleted_at: datetime | None
    """When the secret was deleted in this version; null for the others, and once nothing can be restored."""
    destroyed_at: datetime | None
    """When the value was destroyed; null as long as there is one."""


class SecretVersionList(Model):
    versions: list[SecretVersion]
    next_cursor: str | None


class SecretsReveal(Model):
    """Values of one moment, by key, and the version of each."""

    secrets: dict[str, str] = Field(repr=False)
    versions: dict[str, int]


class SnapshotList(Model):
    snapshots: list[GrainchainSnapshot]
    next_cursor: str | None


TestStatus = Annotated[
    Literal["pending", "running", "passed", "failed", "skipped", "error"], _AnyText
]


class TestOutcome(Model):
    """A test's result in one run: its last attempt."""

    agent_run_id: int
    run_number: int
    status: TestStatus
    attempt: int
    flaky: bool
    """Whether it passed, and an earlier attempt failed."""
    duration_seconds: float | None
    updated_at: datetime


class TestHistory(Model):
    """A test in the latest runs of its project."""

    test_type: str
    test_name: str
    passed: int
    failed: int
    """Runs in which the test failed or broke off (`failed`, `error`)."""
    flaky: int
    """Runs in which the test passed only after an attempt that failed; `passed` counts them too."""
    flips: int
    """How often the result changed between passed and failed, counting only runs in which the test did either."""
    results: list[TestOutcome] | None
    """Newest run first, without runs that lack the test. Null unless `test_name` was given."""


class TestHistoryList(Model):
    runs: int
    """How many runs were examined."""
    tests: list[TestHistory]
    """By type and name."""
    next_cursor: str | None


class TestResult(Model):
    id: int
    created_at: datetime
    updated_at: datetime
    agent_run_id: int
    test_type: str
    test_name: str
    attempt: int
    """1 for the test's first attempt in the run."""
    flaky: bool
    """Whether this last attempt passed, and an earlier one failed. False for attempts that others followed."""
    status: TestStatus
    duration_seconds: float | None
    result_data: dict[str, Any] | None
    error_message: str | None
    screenshot_path: str | None
    log_path: str | None


class TestResultCounts(Model):
    """What happened to the results of an upload."""

    created: int
    """Results that are new attempts."""
    updated: int
    """Results that replaced what was stored of their attempt."""
    unchanged: int


class TestResultCreate(VersionedModel):
    """The result of an attempt of a test. A field left out of a later upload of the same attempt
    becomes null."""

    test_type: str
    test_name: str
    attempt: int | None = None
    duration_seconds: float | None = None
    error_message: str | None = None
    log_path: str | None = None
    result_data: dict[str, Any] | None = None
    screenshot_path: str | None = None
    status: TestStatus | None = None
    """By default `"pending"`."""


class TestResultList(Model):
    test_results: list[TestResult]
    summary: dict[str, int]
    """How many tests the run has by the status of their last attempt, and how many are flaky, regardless of the filters."""
    next_cursor: str | None


class TokenInfo(Model):
    """A token without its secret part."""

    id: int
    name: str
    scopes: list[str]
    project_ids: list[int] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """May lag by a minute after a crash."""
    revoked_at: datetime | None


class TokenCreated(TokenInfo):
    """A new token. Only this answer shows it."""

    token: str = Field(repr=False)


class TokenIdentity(Model):
    """What the token of a request is."""

    id: int | None
    """Null when authentication is off."""
    name: str
    scopes: list[str]
    project_ids: list[int] | None
    """The only projects that the token can see; null for all of them."""
    expires_at: datetime | None
    """When the token expires; null if it does not."""
    session_expires_at: datetime | None
    """When the session of the request ends; null without a session."""


class TokenList(Model):
    tokens: list[TokenInfo]
    next_cursor: str | None


WebhookType = Annotated[Literal["github_pr", "github_push", "cloudflare", "custom"], _AnyText]


class Webhook(VersionedModel):
    id: int
    created_at: datetime
    updated_at: datetime
    project_id: int
    webhook_type: WebhookType
    webhook_url: str | None
    events: list[str]
    is_active: bool
    last_triggered_at: datetime | None


class WebhookDelivery(Model):
    """A delivery to a webhook, without its payload."""

    id: int
    created_at: datetime
    webhook_id: int
    guid: str
    event: str
    action: str | None
    payload_bytes: int


class WebhookDeliveryFull(WebhookDelivery):
    """A delivery with its payload, as it arrived."""

    payload: dict[str, Any]


class WebhookDeliveryList(Model):
    deliveries: list[WebhookDelivery]
    next_cursor: str | None


class WebhookList(Model):
    webhooks: list[Webhook]
    next_cursor: str | None
