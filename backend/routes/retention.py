"""How long data is kept, over HTTP."""

from typing import Annotated

from fastapi import Depends, Request, Response, status

from backend.dependencies import GuardedRouter, problems
from backend.http.route_policy import Idempotent, reads, writes
from backend.http.state import state_of
from backend.schemas.retention import PruneProgress, RetentionStatus
from backend.services.operations.pruner import Pruner
from models import Scope

router = GuardedRouter(
    tag="retention",
    about="How long rows are kept, and what would be removed.",
    prefix="/api/retention",
    policies={
        ("GET", "/api/retention"): reads(Scope.ADMIN),
        ("POST", "/api/retention/prune"): writes(Scope.ADMIN, idempotent=Idempotent.AFTERWARDS),
    },
)


async def _pruner(request: Request) -> Pruner:
    return state_of(request.app).installation.pruner


ThePruner = Annotated[Pruner, Depends(_pruner)]


@router.get("", responses=problems())
async def get_retention(pruner: ThePruner) -> RetentionStatus:
    """The limits, what exceeds them now, and the progress of the latest removal."""
    return await pruner.status()


@router.post(
    "/prune",
    responses={
        202: {
            "model": PruneProgress,
            "description": "The removal is running: `GET /api/retention` shows its progress.",
        },
        **problems("database_full"),
    },
)
async def prune_rows(pruner: ThePruner, response: Response) -> PruneProgress:
    """Remove what exceeds the limits, in small steps, while serving.

    The server does the same on its own every few minutes.
    """
    progress = await pruner.prune()
    if progress.status == "running":
        response.status_code = status.HTTP_202_ACCEPTED
    return progress
