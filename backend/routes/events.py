"""Events over HTTP: the record of changes, as a list and as a stream."""

from typing import Annotated

from fastapi import Query, Request, Response

from backend.dependencies import AnyOf, Cursor, GuardedRouter, Id, Limit, Service, problems
from backend.http.route_policy import reads
from backend.http.streams.answer import open_stream, wants_stream
from backend.http.streams.parameters import AfterId, place_of
from backend.schemas.events import EventList
from backend.services.kinds import Kind
from models import Scope

router = GuardedRouter(
    tag="events",
    about="What has changed: a list, and a stream to follow.",
    prefix="/api/events",
    policies={
        ("GET", "/api/events"): reads(
            Scope.PROJECTS_READ,
            or_scopes=(Scope.RUNS_READ, Scope.AUDIT_READ),
            # No index finds the entries about a resource, and a scope may see few kinds.
            slow_with=("kind", "resource"),
            follows=True,
        ),
    },
)


@router.get("", response_model=EventList, responses=problems("bad_cursor"))
async def list_events(
    request: Request,
    service: Service,
    project_id: Annotated[Id | None, Query(description="Only events of this project.")] = None,
    kind: Annotated[AnyOf[Kind], Query(description="Only these kinds.")] = (),
    resource: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=500,
            description="Only events of this resource, such as `agent-runs/7`.",
        ),
    ] = None,
    after: Annotated[
        AfterId | None,
        Query(
            description="Only events after this id; 0 begins at the oldest. A list without it "
            "begins at the oldest, a stream begins now."
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventList | Response:
    """One page of events, oldest first: those that the token's scopes and projects show. With
    `Accept: text/event-stream`, a stream of them."""
    wanted = service.events.wanted(kinds=kind, project_id=project_id, resource=resource)
    place = place_of(after)
    if wants_stream(request):
        feed = service.events.feed
        return await open_stream(request, feed, wanted, after=place, cursor=cursor, name="after")
    return await service.events.page(wanted, after=place, limit=limit, cursor=cursor)
