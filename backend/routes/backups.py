"""Backups over HTTP, for administrators; they go only into the data directory's folder."""

from typing import Annotated

from fastapi import Depends, Request, status

from backend.dependencies import Cursor, GuardedRouter, Limit, problems
from backend.http.route_policy import Idempotent, reads, writes
from backend.http.state import state_of
from backend.schemas.backups import BackupCreated, BackupList, BackupRequest
from backend.services.operations.backups import BackupRunner
from models import Scope

router = GuardedRouter(
    tag="backups",
    about="Backups of the running service.",
    prefix="/api/backups",
    policies={
        ("GET", "/api/backups"): reads(Scope.ADMIN),
        ("POST", "/api/backups"): writes(Scope.ADMIN, idempotent=Idempotent.AFTERWARDS),
    },
)


async def _runner(request: Request) -> BackupRunner:
    return state_of(request.app).installation.backups


Runner = Annotated[BackupRunner, Depends(_runner)]


@router.get("", responses=problems("bad_cursor"))
async def list_backups(runner: Runner, limit: Limit = 50, cursor: Cursor = None) -> BackupList:
    """One page of the backups in the data directory's folder `backups`, newest first."""
    return await runner.page(limit=limit, cursor=cursor)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(body=True))
async def create_backup(
    runner: Runner,
    request: BackupRequest | None = None,  # noqa: ARG001 - declared so that any field is refused
) -> BackupCreated:
    """Copy the whole database, while serving, to a new file in the data directory's folder
    `backups`, and verify the copy. It holds every write acknowledged before this call, but no
    master keys.
    """
    return await runner.create()
