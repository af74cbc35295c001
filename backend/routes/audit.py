"""The audit over HTTP."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from backend.dependencies import Cursor, GuardedRouter, Id, Limit, PlainDigits, Service, problems
from backend.http.bulk_bodies import NDJSON
from backend.http.openapi.components import reference, text_of_many
from backend.http.route_policy import reads
from backend.schemas.audit import AuditList, ExportedAuditEntry
from models import MAX_INT64, Scope

router = GuardedRouter(
    tag="audit",
    about="Who did what, in a chain of MACs.",
    prefix="/api/audit",
    policies={
        ("GET", "/api/audit"): reads(Scope.AUDIT_READ),
        ("GET", "/api/audit/export"): reads(Scope.AUDIT_READ, is_streamed=True, is_slow=True),
    },
)

_EXPORTED = text_of_many(
    NDJSON, reference("schemas", ExportedAuditEntry.__name__), "An entry on each line."
)
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
            "content": {NDJSON: {"schema": _EXPORTED}},
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
    # An error in the first lines can still become an answer with a status.
    first = await anext(lines, b"")
    return StreamingResponse(_all_of(first, lines), media_type=NDJSON)


async def _all_of(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for some in others:
        yield some
