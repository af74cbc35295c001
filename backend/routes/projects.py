"""Projects and their configuration over HTTP."""

from typing import Annotated, Literal

from fastapi import Path, Query, Response, status

from backend.dependencies import (
    AnyOf,
    Cursor,
    Flag,
    GuardedRouter,
    Limit,
    ProjectId,
    Service,
    json_response,
    problems,
)
from backend.http.route_policy import Inclusion, Shown, reads, writes
from backend.schemas.projects import (
    ListedProjects,
    ProjectCreate,
    ProjectFull,
    ProjectSettingsUpdate,
    ProjectUpdate,
)
from models import NO_NUL_PATTERN, Project, ProjectSettings, ProjectStatus, Scope

router = GuardedRouter(
    tag="projects",
    about="Projects, each with a repository on GitHub, and their configuration.",
    prefix="/api/projects",
    policies={
        ("GET", "/api/projects/{project_id}"): reads(Scope.PROJECTS_READ, shows=Shown.PROJECT),
        ("GET", "/api/projects/{project_id}/full"): reads(Scope.PROJECTS_READ, shows=Shown.FULL),
        ("GET", "/api/projects/{project_id}/configuration"): reads(
            Scope.PROJECTS_READ, shows=Shown.CONFIGURATION
        ),
        ("GET", "/api/projects"): reads(
            Scope.PROJECTS_READ,
            shows=Shown.PROJECTS,
            includes={"runs": Inclusion(Scope.RUNS_READ, Shown.PROJECTS_WITH_RUNS)},
            slow_with=("q",),
        ),
        ("POST", "/api/projects"): writes(Scope.PROJECTS_WRITE),
        ("GET", "/api/projects/by-repo/{owner}/{repo}"): reads(
            Scope.PROJECTS_READ, shows=Shown.PROJECTS
        ),
        ("PUT", "/api/projects/{project_id}"): writes(Scope.PROJECTS_WRITE),
        ("PATCH", "/api/projects/{project_id}"): writes(Scope.PROJECTS_WRITE),
        ("DELETE", "/api/projects/{project_id}"): writes(Scope.PROJECTS_WRITE),
        ("POST", "/api/projects/{project_id}/restore"): writes(Scope.PROJECTS_WRITE),
        ("PUT", "/api/projects/{project_id}/configuration"): writes(Scope.PROJECTS_WRITE),
        ("PATCH", "/api/projects/{project_id}/configuration"): writes(Scope.PROJECTS_WRITE),
    },
)

Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"]
Owner = Annotated[
    str, Path(max_length=100, pattern=NO_NUL_PATTERN, description="GitHub owner, in any case.")
]
Repo = Annotated[
    str, Path(max_length=100, pattern=NO_NUL_PATTERN, description="GitHub repository, in any case.")
]


@router.get("/{project_id}", response_model=Project, responses=problems("project_not_found"))
async def get_project(project_id: ProjectId, service: Service) -> Response:
    """The project, even when it is deleted, until it is purged."""
    return json_response(await service.projects.get_json(project_id))


@router.get(
    "/{project_id}/full",
    response_model=ProjectFull,
    responses=problems("project_not_found", "changed_outside"),
)
async def get_full(project_id: ProjectId, service: Service) -> Response:
    """The project, its configuration and the metadata of its secrets, read at one moment."""
    return json_response(await service.projects.get_full_json(project_id))


@router.get(
    "/{project_id}/configuration",
    response_model=ProjectSettings,
    responses=problems("project_not_found", "changed_outside"),
)
async def get_configuration(project_id: ProjectId, service: Service) -> Response:
    """The project's configuration, or the defaults."""
    return json_response(await service.projects.get_settings_json(project_id))


@router.get("", response_model=ListedProjects, responses=problems("bad_cursor"))
async def list_projects(
    service: Service,
    status: Annotated[
        AnyOf[ProjectStatus],
        Query(description="Only projects with these statuses; by default, all but deleted ones."),
    ] = (),
    owner: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=NO_NUL_PATTERN,
            description="Only projects of this GitHub owner, in any case.",
        ),
    ] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=255,
            pattern=NO_NUL_PATTERN,
            description="Part of the name, owner or repository.",
        ),
    ] = None,
    sort: Annotated[Sort, Query(description="`-` in front for descending.")] = "-created_at",
    include: Annotated[
        Literal["runs"] | None,
        Query(
            description="What each project is shown with: its `runs`, for which the token also"
            " needs `runs:read`."
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """One page of projects."""
    page = await service.projects.page_json(
        statuses=status,
        owner=owner,
        text=q,
        sort=sort,
        limit=limit,
        cursor=cursor,
        with_runs=include == "runs",
    )
    return json_response(page)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=Project,
    responses=problems("project_exists", body=True),
)
async def create_project(project: ProjectCreate, service: Service) -> Response:
    """Create a project, with any given settings and secrets: all of it, or nothing."""
    project_id, created = await service.projects.create_json(project)
    return json_response(created, location=f"/api/projects/{project_id}")


@router.get("/by-repo/{owner}/{repo}", responses=problems("project_not_found"))
async def get_project_by_repo(owner: Owner, repo: Repo, service: Service) -> Project:
    """The project of a repository, unless it is deleted."""
    return await service.projects.get_by_repo(owner, repo)


_CHANGED = problems("project_not_found", "project_exists", "changed_outside", body=True)


@router.put("/{project_id}", responses=_CHANGED)
async def put_project(project_id: ProjectId, update: ProjectUpdate, service: Service) -> Project:
    """Change the given fields and leave the others."""
    return await service.projects.update(project_id, update)


@router.patch("/{project_id}", responses=_CHANGED)
async def patch_project(project_id: ProjectId, update: ProjectUpdate, service: Service) -> Project:
    """The same as PUT."""
    return await service.projects.update(project_id, update)


@router.delete(
    "/{project_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems("project_not_found", "changed_outside"),
)
async def delete_project(
    project_id: ProjectId,
    service: Service,
    purge: Annotated[
        Flag,
        Query(description="Remove the project and everything that belongs to it, permanently."),
    ] = False,
) -> None:
    """Mark the project deleted, which `restore` undoes, or purge it, which destroys its secrets
    and also needs `secrets:write`."""
    if purge:
        await service.projects.purge(project_id)
    else:
        await service.projects.delete(project_id)


@router.post(
    "/{project_id}/restore",
    responses=problems("project_not_found", "project_exists", "changed_outside"),
)
async def restore_project(project_id: ProjectId, service: Service) -> Project:
    """Make a deleted project active again."""
    return await service.projects.restore(project_id)


_CONFIGURED = problems("project_not_found", "changed_outside", body=True)


@router.put("/{project_id}/configuration", responses=_CONFIGURED)
async def put_configuration(
    project_id: ProjectId, update: ProjectSettingsUpdate, service: Service
) -> ProjectSettings:
    """Change the given fields and leave the others; null clears a text."""
    return await service.projects.update_settings(project_id, update)


@router.patch("/{project_id}/configuration", responses=_CONFIGURED)
async def patch_configuration(
    project_id: ProjectId, update: ProjectSettingsUpdate, service: Service
) -> ProjectSettings:
    """The same as PUT."""
    return await service.projects.update_settings(project_id, update)
