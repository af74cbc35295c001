"""Master keys over HTTP: what they protect, and their rotation."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, status

from backend.dependencies import GuardedRoute, Service, problems
from backend.schemas.keys import KeyStatus, RotationProgress, RotationRequest
from backend.services.operations.rotation_runner import RotationRunner

router = APIRouter(prefix="/api/keys", tags=["keys"], route_class=GuardedRoute)

ANSWER_SECONDS = 1.0
"""How long the answer waits for the end; most rotations are over by then."""


async def _rotation(request: Request) -> RotationRunner:
    runner: RotationRunner = request.app.state.runtime.rotation
    return runner


@router.get("", responses=problems())
async def get_keys(service: Service) -> KeyStatus:
    """What is encrypted under which master key, and how far the newest rotation is."""
    return await service.rotation.status()


@router.post(
    "/rotate",
    responses={
        202: {"model": RotationProgress, "description": "It goes on: `GET /api/keys` tells."},
        **problems("rotation_running", body=True),
    },
)
async def rotate_keys(
    service: Service,
    runner: Annotated[RotationRunner, Depends(_rotation)],
    response: Response,
    request: RotationRequest | None = None,
) -> RotationProgress:
    """Wrap every key under the first configured master key, while serving.

    A rotation that is interrupted goes on when the server starts again.
    """
    reencrypt = request.reencrypt if request is not None else False
    begun = await service.rotation.begin(reencrypt=reencrypt)
    await asyncio.wait({runner.start()}, timeout=ANSWER_SECONDS)
    rotation = (await service.rotation.status()).rotation or begun
    if rotation.status == "running":
        response.status_code = status.HTTP_202_ACCEPTED
    return rotation
