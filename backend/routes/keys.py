"""Master keys over HTTP: what they protect, and their rotation."""

from typing import Annotated

from fastapi import Depends, Request, Response, status

from backend.dependencies import GuardedRouter, Service, problems
from backend.http.route_policy import Idempotent, reads, writes
from backend.http.state import state_of
from backend.schemas.keys import KeyStatus, RotationProgress, RotationRequest
from backend.services.operations.rotation_runner import RotationRunner
from models import Scope

router = GuardedRouter(
    tag="keys",
    about="Master keys, and their rotation.",
    prefix="/api/keys",
    policies={
        ("GET", "/api/keys"): reads(Scope.ADMIN),
        ("POST", "/api/keys/rotate"): writes(Scope.ADMIN, idempotent=Idempotent.AFTERWARDS),
    },
)


async def _rotation(request: Request) -> RotationRunner:
    return state_of(request.app).installation.rotation


@router.get("", responses=problems())
async def get_keys(service: Service) -> KeyStatus:
    """What is encrypted under which master key, and the progress of the latest rotation."""
    return await service.rotation.status()


@router.post(
    "/rotate",
    responses={
        202: {
            "model": RotationProgress,
            "description": "The rotation is running: `GET /api/keys` shows its progress.",
        },
        **problems("rotation_running", "secret_unreadable", body=True),
    },
)
async def rotate_keys(
    runner: Annotated[RotationRunner, Depends(_rotation)],
    response: Response,
    request: RotationRequest | None = None,
) -> RotationProgress:
    """Wrap every key under the first configured master key, while serving.

    An interrupted rotation goes on when the server starts again.
    """
    reencrypt = request.reencrypt if request is not None else False
    rotation = await runner.rotate(reencrypt=reencrypt)
    if rotation.status == "running":
        response.status_code = status.HTTP_202_ACCEPTED
    return rotation
