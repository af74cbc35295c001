"""Versions of secrets over HTTP."""

from typing import Annotated

from fastapi import Path, Response, status

from backend.dependencies import Cursor, GuardedRouter, Id, Limit, ProjectId, Service, problems
from backend.http.route_policy import reads, writes
from backend.schemas.secrets import SecretMetadata, SecretReveal
from backend.schemas.versions import Rollback, SecretVersionList
from models import KEY_PATTERN, Scope

_ONE = "/api/projects/{project_id}/secrets/{key}"

router = GuardedRouter(
    tag="versions",
    prefix=_ONE,
    policies={
        ("GET", f"{_ONE}/versions"): reads(Scope.PROJECTS_READ),
        # Revealing a value writes to the audit.
        ("GET", f"{_ONE}/versions/{{version}}/value"): writes(Scope.SECRETS_REVEAL),
        ("POST", f"{_ONE}/rollback"): writes(Scope.SECRETS_WRITE),
        ("POST", f"{_ONE}/restore"): writes(Scope.SECRETS_WRITE),
        ("DELETE", f"{_ONE}/versions/{{version}}"): writes(Scope.SECRETS_WRITE),
    },
)

Key = Annotated[
    str,
    Path(pattern=KEY_PATTERN, description="The secret's key.", examples=["API_KEY"]),
]
Version = Annotated[Id, Path(description="The version's number.", examples=[1])]


@router.get("/versions", responses=problems("project_not_found", "secret_not_found", "bad_cursor"))
async def list_secret_versions(
    project_id: ProjectId, key: Key, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> SecretVersionList:
    """One page of versions without their values, newest first, also of a deleted secret."""
    return await service.secret_history.page(project_id, key, limit=limit, cursor=cursor)


@router.get(
    "/versions/{version}/value",
    responses={
        200: {"headers": {"Cache-Control": {"required": True, "schema": {"const": "no-store"}}}},
        **problems(
            "project_not_found",
            "secret_not_found",
            "version_not_found",
            "version_destroyed",
            "secret_unreadable",
            "database_full",
        ),
    },
)
async def reveal_secret_version(
    project_id: ProjectId, key: Key, version: Version, service: Service, response: Response
) -> SecretReveal:
    """The value of a version of a secret that is not deleted. Caches must not store it."""
    response.headers["Cache-Control"] = "no-store"
    return await service.secret_history.reveal(project_id, key, version)


@router.post(
    "/rollback",
    responses=problems(
        "project_not_found",
        "secret_not_found",
        "version_not_found",
        "version_destroyed",
        "secret_unreadable",
        body=True,
    ),
)
async def rollback_secret(
    project_id: ProjectId, key: Key, rollback: Rollback, service: Service
) -> SecretMetadata:
    """Give the secret the value of this version, always as a new version. A deleted secret exists
    again."""
    return await service.secret_history.roll_back(project_id, key, rollback.version)


@router.post(
    "/restore", responses=problems("project_not_found", "secret_not_found", "secret_unreadable")
)
async def restore_secret(project_id: ProjectId, key: Key, service: Service) -> SecretMetadata:
    """Take a secret back that was deleted in the last 30 days, in its last version; one that is
    not deleted stays as it is."""
    return await service.secret_history.restore(project_id, key)


@router.delete(
    "/versions/{version}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems("project_not_found", "secret_not_found", "version_not_found"),
)
async def destroy_secret_version(
    project_id: ProjectId, key: Key, version: Version, service: Service
) -> None:
    """Destroy the value of this version for good. With the present version, the secret is
    deleted."""
    await service.secret_history.destroy(project_id, key, version)
