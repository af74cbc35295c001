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
    SecretKey,
    SecretText,
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


class ProjectList(BaseModel):
    projects: list[Project]
    next_cursor: str | None


class ProjectFull(BaseModel):
    project: Project
    settings: ProjectSettings
    secrets: list[SecretMetadata]
    secret_count: int
