"""Logs over HTTP."""

from typing import Annotated, Any

from fastapi import Body, Query, Request, Response, status

from backend.dependencies import Cursor, GuardedRouter, Id, Limit, Service, problems
from backend.http.json_answer import JsonAnswer
from backend.http.route_policy import Lines, reads, writes
from backend.http.streams.answer import open_stream, wants_stream
from backend.http.streams.parameters import AfterId, place_of
from backend.schemas.logs import LogList, LogsAccepted, LogSubmission
from backend.schemas.plain_logs import MAX_LOGS, MAX_NAME
from models import GivenLogLevel, Moment, Scope

router = GuardedRouter(
    tag="logs",
    about="Logs of agents and services, with search.",
    prefix="/api/logs",
    policies={
        ("GET", "/api/logs"): reads(
            Scope.LOGS_READ, slow_with=("q", "timestamp_since", "timestamp_until"), follows=True
        ),
        ("POST", "/api/logs"): writes(Scope.LOGS_WRITE, lines=Lines("logs", MAX_LOGS)),
    },
)

MAX_SEARCH = 255


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=LogsAccepted,
    responses=problems("project_not_found", "agent_run_not_found", body=True),
)
async def append_logs(logs: Annotated[LogSubmission, Body()], service: Service) -> Response:
    """Store one log, or up to 1,000 as `{"logs": […]}` or as lines of NDJSON: all of them, or
    none."""
    accepted = await service.logs.append(logs)
    # A model would take longer to validate and to write than the log itself.
    return JsonAnswer(b'{"accepted":%d}' % accepted, status.HTTP_201_CREATED)


@router.get("", response_model=LogList, responses=problems("bad_cursor"))
async def list_logs(
    request: Request,
    service: Service,
    level: Annotated[
        GivenLogLevel | None,
        Query(description="Only logs of this level and above; the names are those of a log."),
    ] = None,
    component: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
    correlation_id: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
    agent_run_id: Annotated[Id | None, Query()] = None,
    project_id: Annotated[Id | None, Query()] = None,
    since: Annotated[
        Moment | None,
        Query(description="Only logs stored (`created_at`) from this time on, with a zone: `…Z`."),
    ] = None,
    until: Annotated[Moment | None, Query(description="Only logs stored up to this time.")] = None,
    timestamp_since: Annotated[
        Moment | None,
        Query(
            description="Only logs that happened from this time on: by their `timestamp`, or by "
            "`created_at` if they have none."
        ),
    ] = None,
    timestamp_until: Annotated[
        Moment | None, Query(description="Only logs that happened up to this time.")
    ] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=MAX_SEARCH,
            description="Words that the message contains, all of them, in any case.",
        ),
    ] = None,
    after_id: Annotated[
        AfterId | None,
        Query(
            description="Only logs after this id, oldest first; 0 begins at the oldest. A stream "
            "without it begins now."
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> LogList | Response:
    """One page of logs, newest first, or with `after_id` oldest first. With
    `Accept: text/event-stream`, a stream of logs."""
    filters: dict[str, Any] = {
        "level": level,
        "component": component,
        "correlation_id": correlation_id,
        "agent_run_id": agent_run_id,
        "project_id": project_id,
        "since": since,
        "until": until,
        "timestamp_since": timestamp_since,
        "timestamp_until": timestamp_until,
        "text": q,
    }
    after = place_of(after_id)
    if wants_stream(request):
        wanted = service.logs.wanted(**filters)
        return await open_stream(
            request, service.logs.feed, wanted, after=after, cursor=cursor, name="after_id"
        )
    return await service.logs.page(after=after, limit=limit, cursor=cursor, **filters)
