"""Versions of configurations over HTTP."""

from typing import Annotated

from fastapi import Header, Path, Query, Response
from pydantic import Field

from backend.dependencies import (
    Cursor,
    GuardedRouter,
    Id,
    Limit,
    PlainDigits,
    ProjectId,
    RunId,
    Service,
    json_response,
    problems,
)
from backend.http.accepted import prefers_plain_text
from backend.http.route_policy import reads, writes
from backend.schemas.versions import ConfigurationDiff, ConfigurationVersionList, Rollback
from models import MAX_INT64, ProjectSettings, Scope

_CONFIGURATION = "/api/projects/{project_id}/configuration"

router = GuardedRouter(
    tag="versions",
    about="What configurations and secrets were before, and how to go back.",
    policies={
        ("GET", f"{_CONFIGURATION}/versions"): reads(Scope.PROJECTS_READ),
        ("GET", f"{_CONFIGURATION}/diff"): reads(Scope.PROJECTS_READ, is_slow=True),
        ("GET", f"{_CONFIGURATION}/versions/{{version}}"): reads(Scope.PROJECTS_READ),
        ("POST", f"{_CONFIGURATION}/rollback"): writes(Scope.PROJECTS_WRITE),
        ("GET", "/api/agent-runs/{run_id}/configuration"): reads(Scope.RUNS_READ),
    },
)

Number = Annotated[int, Field(ge=0, le=MAX_INT64), PlainDigits]
"""A version's number; 0 for the defaults of a project without settings."""
Version = Annotated[Id, Path(description="The version's number.", examples=[1])]


@router.get(f"{_CONFIGURATION}/versions", responses=problems("project_not_found", "bad_cursor"))
async def list_configuration_versions(
    project_id: ProjectId, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> ConfigurationVersionList:
    """One page of versions, newest first: who changed which fields, and when."""
    return await service.configuration_history.page(project_id, limit=limit, cursor=cursor)


@router.get(
    f"{_CONFIGURATION}/versions/{{version}}",
    responses=problems("project_not_found", "version_not_found", "changed_outside"),
)
async def get_configuration_version(
    project_id: ProjectId, version: Version, service: Service
) -> ProjectSettings:
    """The configuration as it was in this version."""
    return await service.configuration_history.get(project_id, version)


@router.get(
    f"{_CONFIGURATION}/diff",
    response_model=ConfigurationDiff,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "The diffs by field, or one after another as text.",
        },
        **problems("project_not_found", "version_not_found", "changed_outside"),
    },
)
async def diff_configuration(
    project_id: ProjectId,
    service: Service,
    from_version: Annotated[
        Number | None,
        Query(alias="from", description="The earlier version; by default, the one before `to`."),
    ] = None,
    to_version: Annotated[
        Number | None,
        Query(alias="to", description="The later version; by default, the present one."),
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The fields that differ between two versions, each with a unified diff; with
    `Accept: text/plain` the diffs alone."""
    history = service.configuration_history
    if prefers_plain_text(accept):
        text = await history.diff_text(project_id, from_version, to_version)
        answer = Response(text, media_type="text/plain; charset=utf-8")
    else:
        answer = json_response(await history.diff_json(project_id, from_version, to_version))
    answer.headers["Vary"] = "Accept"
    return answer


@router.post(
    f"{_CONFIGURATION}/rollback",
    responses=problems("project_not_found", "version_not_found", "changed_outside", body=True),
)
async def rollback_configuration(
    project_id: ProjectId, rollback: Rollback, service: Service
) -> ProjectSettings:
    """Give the configuration the content of this version, always as a new version."""
    return await service.configuration_history.roll_back(project_id, rollback.version)


@router.get(
    "/api/agent-runs/{run_id}/configuration",
    responses=problems("agent_run_not_found", "version_not_found", "changed_outside"),
)
async def get_agent_run_configuration(run_id: RunId, service: Service) -> ProjectSettings:
    """The configuration that the run started with, whatever it is by now; before its start, the
    one that it was created with."""
    return await service.configuration_history.of_run(run_id)
