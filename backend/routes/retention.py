"""How long data is kept, over HTTP."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, status

from backend.dependencies import GuardedRoute, Service, problems
from backend.schemas.retention import PruneProgress, RetentionStatus
from backend.services.operations.pruner import Pruner

router = APIRouter(prefix="/api/retention", tags=["retention"], route_class=GuardedRoute)

ANSWER_SECONDS = 1.0
"""How long the answer waits for the end."""


async def _pruner(request: Request) -> Pruner:
    pruner: Pruner = request.app.state.runtime.pruner
    return pruner


ThePruner = Annotated[Pruner, Depends(_pruner)]


@router.get("", responses=problems())
async def get_retention(service: Service, pruner: ThePruner) -> RetentionStatus:
    """The limits, what is beyond them now, and how far the newest removal is."""
    plan = await service.retention.plan(pruner.limits)
    return RetentionStatus(limits=pruner.limits, would_remove=plan, prune=pruner.progress)


@router.post(
    "/prune",
    responses={
        202: {"model": PruneProgress, "description": "It goes on: `GET /api/retention` tells."},
        **problems("database_full"),
    },
)
async def prune(service: Service, pruner: ThePruner, response: Response) -> PruneProgress:
    """Remove what is beyond the limits, in small steps, while serving.

    The server does the same by itself every few minutes.
    """
    await service.retention.record_prune()
    removal = pruner.start()
    await asyncio.wait({removal}, timeout=ANSWER_SECONDS)
    if removal.done():
        # Raises what broke it off.
        removal.result()
    else:
        response.status_code = status.HTTP_202_ACCEPTED
    progress = pruner.progress
    assert progress is not None  # noqa: S101 - it has begun
    return progress
