"""Secrets over HTTP. Several calls accept values, but only one returns them."""

from typing import Annotated

from fastapi import Path, Query, Response, status

from backend.dependencies import Cursor, Flag, GuardedRouter, Limit, ProjectId, Service, problems
from backend.http.route_policy import Idempotent, reads, writes
from backend.schemas.secrets import (
    SecretCreate,
    SecretList,
    SecretMetadata,
    SecretReveal,
    SecretScanResult,
    SecretsUpsert,
    SecretUpsertResult,
    SecretValue,
)
from models import KEY_PATTERN, Scope

router = GuardedRouter(
    tag="secrets",
    about="The secrets of projects. Their values are shown only where they are revealed.",
    prefix="/api/projects/{project_id}/secrets",
    policies={
        ("GET", "/api/projects/{project_id}/secrets"): reads(Scope.PROJECTS_READ),
        ("POST", "/api/projects/{project_id}/secrets"): writes(Scope.SECRETS_WRITE),
        ("PUT", "/api/projects/{project_id}/secrets"): writes(Scope.SECRETS_WRITE),
        # What it tells of a value that a client has chosen, a text could be read with, bit by bit:
        # so it needs the scope of those who may read the values, and shows what the token may read.
        ("POST", "/api/projects/{project_id}/secrets/scan"): writes(
            Scope.SECRETS_REVEAL, idempotent=Idempotent.AFTERWARDS, is_slow=True
        ),
        ("GET", "/api/projects/{project_id}/secrets/{key}"): reads(Scope.PROJECTS_READ),
        ("PUT", "/api/projects/{project_id}/secrets/{key}"): writes(Scope.SECRETS_WRITE),
        # Revealing a value writes to the audit.
        ("GET", "/api/projects/{project_id}/secrets/{key}/value"): writes(Scope.SECRETS_REVEAL),
        ("DELETE", "/api/projects/{project_id}/secrets/{key}"): writes(Scope.SECRETS_WRITE),
    },
)

Key = Annotated[
    str,
    Path(pattern=KEY_PATTERN, description="The secret's key.", examples=["API_KEY"]),
]
_MISSING = problems("project_not_found", "secret_not_found")


@router.get("", responses=problems("project_not_found", "bad_cursor"))
async def list_secrets(
    project_id: ProjectId, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> SecretList:
    """One page of secrets, newest first, without their values."""
    return await service.secrets.page(project_id, limit=limit, cursor=cursor)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems("project_not_found", "secret_exists", "secret_unreadable", body=True),
)
async def create_secret(
    project_id: ProjectId, secret: SecretCreate, service: Service, response: Response
) -> SecretMetadata:
    """Create a secret."""
    created = await service.secrets.create(project_id, secret)
    response.headers["Location"] = f"/api/projects/{project_id}/secrets/{created.key}"
    return created


@router.put("", responses=problems("project_not_found", "secret_unreadable", body=True))
async def upsert_secrets(
    project_id: ProjectId, upsert: SecretsUpsert, service: Service
) -> SecretUpsertResult:
    """Set all these secrets in one transaction, and leave the others."""
    return await service.secrets.upsert(project_id, upsert.secrets)


@router.post("/scan", responses=problems("project_not_found", "bad_cursor"))
async def scan_secrets(
    project_id: ProjectId,
    service: Service,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the previous answer of the same scan.")
    ] = None,
) -> SecretScanResult:
    """Tell where the present values of the project's secrets stand in texts that are stored: in
    its logs, runs and what belongs to them, its configuration and its versions, and deliveries.

    An answer takes a few seconds at most; with `next_cursor` the next request goes on. Only what
    the token may read is searched.
    """
    return await service.secret_scan.scan(project_id, cursor=cursor)


@router.put(
    "/{key}",
    responses={
        201: {"model": SecretMetadata, "description": "The secret was created."},
        **problems("project_not_found", "secret_unreadable", body=True),
    },
)
async def put_secret(
    project_id: ProjectId, key: Key, secret: SecretValue, service: Service, response: Response
) -> SecretMetadata:
    """Set a secret's value; create the secret if the key is new."""
    metadata, created = await service.secrets.put(project_id, key, secret.value, secret.redact)
    if created:
        response.status_code = status.HTTP_201_CREATED
        response.headers["Location"] = f"/api/projects/{project_id}/secrets/{key}"
    return metadata


@router.get(
    "/{key}", responses=problems("project_not_found", "secret_not_found", "secret_unreadable")
)
async def get_secret(project_id: ProjectId, key: Key, service: Service) -> SecretMetadata:
    """A secret without its value."""
    return await service.secrets.get(project_id, key)


@router.get(
    "/{key}/value",
    responses={
        200: {"headers": {"Cache-Control": {"required": True, "schema": {"const": "no-store"}}}},
        **problems("project_not_found", "secret_not_found", "secret_unreadable", "database_full"),
    },
)
async def reveal_secret(
    project_id: ProjectId, key: Key, service: Service, response: Response
) -> SecretReveal:
    """A secret's value. Caches must not store it."""
    response.headers["Cache-Control"] = "no-store"
    return await service.secrets.reveal(project_id, key)


@router.delete("/{key}", status_code=status.HTTP_204_NO_CONTENT, responses=_MISSING)
async def delete_secret(
    project_id: ProjectId,
    key: Key,
    service: Service,
    purge: Annotated[
        Flag,
        Query(description="Destroy the values of all versions; the key keeps its last number."),
    ] = False,
) -> None:
    """Delete a secret, which `restore` takes back within 30 days, or purge it, also after it was
    deleted."""
    if purge:
        await service.secret_history.purge(project_id, key)
    else:
        await service.secrets.delete(project_id, key)
