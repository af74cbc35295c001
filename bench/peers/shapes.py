"""The shapes of requests and answers for peers written in Python, and constant answers."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from backend.schemas.base import RequestModel
from backend.schemas.projects import ProjectFull, ProjectList
from backend.schemas.secrets import SecretBatch, SecretMetadata
from models import JsonObject, LogLevel, Project, ProjectSettings, ProjectStatus, SecretStatus

ProjectId = Annotated[int, Path(ge=1)]
Limit = Annotated[int, Query(ge=1, le=500)]
SlowRows = Annotated[int, Query(ge=1)]


class LogCreate(RequestModel):
    """One log."""

    level: Annotated[LogLevel, Field(strict=False)]
    message: Annotated[str, Field(min_length=1, max_length=10_000)]
    component: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    context: JsonObject = Field(default_factory=dict)
    correlation_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    project_id: int | None = None
    agent_run_id: int | None = None


class SecretsPut(RequestModel):
    """Secrets with their values."""

    secrets: SecretBatch


class Accepted(BaseModel):
    """How many logs were stored."""

    accepted: int


TIME = "2026-01-31T12:00:00.123456Z"

PROJECT = Project(
    id=1,
    name="Project 1",
    github_owner="bench",
    github_repo="project-1",
    status=ProjectStatus.ACTIVE,
    webhook_url="https://hooks.example.com/projects/1",
    auto_merge_enabled=True,
    auto_confirm_plans=False,
    created_at=TIME,
    updated_at=TIME,
    version=1,
)

SETTINGS = ProjectSettings(
    id=1,
    project_id=1,
    planning_statement="Plan before coding, and keep every change small enough to be read.",
    repository_rules="Tests first. No new dependency without a reason.",
    setup_commands="npm ci && npm run build",
    branch_name="main",
    created_at=TIME,
    updated_at=TIME,
    version=1,
)

SECRETS = [
    SecretMetadata(
        id=number,
        project_id=1,
        key=f"SECRET_{number}",
        version=1,
        status=SecretStatus.OK,
        redact=True,
        created_at=TIME,
        updated_at=TIME,
    )
    for number in range(1, 12)
]

FULL = ProjectFull(project=PROJECT, settings=SETTINGS, secrets=SECRETS, secret_count=len(SECRETS))


def project_list(size: int) -> ProjectList:
    """A page of this many projects."""
    return ProjectList(projects=[PROJECT] * size, next_cursor="MjAyNi0wMS0zMVQxMjowMDowMC4xMjM0NTY")
