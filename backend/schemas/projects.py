"""Projects and their configuration: what clients send and receive."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from backend.schemas.base import RequestModel
from backend.schemas.fields import unset
from backend.schemas.secrets import SecretBatch, SecretMetadata
from models import (
    BranchName,
    GithubName,
    HttpUrl,
    LongText,
    Project,
    ProjectName,
    ProjectSettings,
    ProjectStatus,
    RunStatus,
    RunType,
    SecretKey,
    SecretText,
    UtcTime,
    ValidationStatus,
)

SettableStatus = Literal["active", "inactive", "archived"]
"""Without `deleted`: only DELETE sets that status, and only a restore ends it."""


class ProjectSettingsCreate(RequestModel):
    planning_statement: LongText | None = None
    repository_rules: LongText | None = None
    setup_commands: LongText | None = None
    branch_name: BranchName = "main"

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"planning_statement": "Plan before coding.", "branch_name": "main"}]
        }
    )


class ProjectSettingsUpdate(RequestModel):
    """Fields left out stay as they are; null clears a text."""

    planning_statement: LongText | None = Field(default_factory=unset)
    repository_rules: LongText | None = Field(default_factory=unset)
    setup_commands: LongText | None = Field(default_factory=unset)
    branch_name: BranchName = Field(default_factory=unset)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"setup_commands": "npm ci", "branch_name": "develop"}]}
    )


_PROJECT_EXAMPLE: dict[str, Any] = {
    "name": "Payments",
    "github_owner": "acme",
    "github_repo": "payments",
    "webhook_url": "https://hooks.example.com/payments",
    "auto_merge_enabled": False,
    "auto_confirm_plans": True,
}


class ProjectFields(RequestModel):
    """The fields of a new project without its settings and secrets."""

    name: ProjectName
    github_owner: GithubName
    github_repo: GithubName
    status: SettableStatus = "active"
    webhook_url: HttpUrl | None = None
    auto_merge_enabled: bool = False
    auto_confirm_plans: bool = False


class ProjectCreate(ProjectFields):
    """A project, with optional settings and secrets: all of it is created, or nothing."""

    settings: ProjectSettingsCreate | None = None
    secrets: SecretBatch = Field(default=[])

    model_config = ConfigDict(json_schema_extra={"examples": [_PROJECT_EXAMPLE]})


class ProjectUpdate(RequestModel):
    """Fields left out stay as they are; null clears `webhook_url`."""

    name: ProjectName = Field(default_factory=unset)
    github_owner: GithubName = Field(default_factory=unset)
    github_repo: GithubName = Field(default_factory=unset)
    status: Annotated[ProjectStatus, Field(strict=False)] = Field(
        default_factory=unset, description="Only DELETE makes a project `deleted`."
    )
    webhook_url: HttpUrl | None = Field(default_factory=unset)
    auto_merge_enabled: bool = Field(default_factory=unset)
    auto_confirm_plans: bool = Field(default_factory=unset)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Payments 2", "status": "inactive"}]}
    )


class ProjectDocument(ProjectFields):
    """One line of an import or export file; fields it does not know are in `model_extra`."""

    model_config = ConfigDict(extra="allow")

    settings: ProjectSettingsCreate | None = None
    secrets: dict[SecretKey, SecretText] = Field(default={})
    secret_keys: list[SecretKey] = Field(default=[])
    unredacted: list[SecretKey] = Field(default=[])


class CurrentRun(BaseModel):
    """The run that a project is working on, without its texts."""

    id: int
    run_number: int
    run_type: RunType
    status: RunStatus
    validation_status: ValidationStatus
    pr_number: int | None
    pr_url: str | None
    started_at: UtcTime | None
    updated_at: UtcTime


class ProjectRuns(BaseModel):
    """What the runs of a project are like."""

    total: int
    active: int = Field(description="Runs that have not ended: pending, running and paused ones.")
    success_rate: float | None = Field(
        description="Completed runs as a share of completed and failed ones, 0 to 1; null without"
        " any."
    )
    current: CurrentRun | None = Field(
        description="The newest running run; without one the newest paused one, and then the"
        " pending one that is next."
    )
    last_completed_at: UtcTime | None = Field(description="When a run ended last, in any status.")


class ListedProject(Project):
    """A project in a list."""

    runs: ProjectRuns = Field(
        default_factory=unset, description="What its runs are like; only with `include=runs`."
    )


class ListedProjects(BaseModel):
    projects: list[ListedProject]
    next_cursor: str | None


class ProjectList(BaseModel):
    """The same without runs."""

    projects: list[Project]
    next_cursor: str | None


class ProjectFull(BaseModel):
    project: Project
    settings: ProjectSettings
    secrets: list[SecretMetadata]
    secret_count: int
