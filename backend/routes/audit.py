"""The audit over HTTP."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from backend.dependencies import Cursor, GuardedRoute, Id, Limit, PlainDigits, Service, problems
from backend.errors import Unauthenticated
from backend.schemas.audit import AuditList, ExportedAuditEntry
from models import MAX_INT64

router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=GuardedRoute)

NDJSON = "application/x-ndjson"
OfProject = Annotated[Id | None, Query(description="Only entries about this project.")]
OfAction = Annotated[
    str | None, Query(max_length=100, description="Only this action, such as `secret.revealed`.")
]
OfActor = Annotated[
    str | None, Query(max_length=255, description="Only actions of the token with this name.")
]


@router.get("", responses=problems("bad_cursor"))
async def list_audit(
    service: Service,
    project_id: OfProject = None,
    action: OfAction = None,
    actor: OfActor = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditList:
    """One page of the audit, newest first."""
    return await service.audit.page(
        project_id=project_id, action=action, actor=actor, limit=limit, cursor=cursor
    )


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One entry per line, oldest first.",
            "content": {NDJSON: {"schema": ExportedAuditEntry.model_json_schema()}},
        },
        **problems(),
    },
)
async def export_audit(
    service: Service,
    project_id: OfProject = None,
    action: OfAction = None,
    actor: OfActor = None,
    after_id: Annotated[
        int,
        Field(ge=0, le=MAX_INT64),
        PlainDigits,
        Query(description="Only entries after this one."),
    ] = 0,
) -> StreamingResponse:
    """The audit as JSON lines, each with its MAC."""
    lines = service.audit.export(
        project_id=project_id, action=action, actor=actor, after_id=after_id
    )
    # What goes wrong with the first ones is still an answer with a status.
    first = await anext(lines, b"")
    return StreamingResponse(_while_valid(first, lines), media_type=NDJSON)


async def _while_valid(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for some in lines:
            yield some
    except Unauthenticated:
        # Its status is sent: only a broken connection tells that this is not the whole.
        raise ClientDisconnect from None
