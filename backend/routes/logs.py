"""Logs over HTTP."""

from typing import Annotated

from fastapi import Body, Query, status

from backend.dependencies import Cursor, GuardedRouter, Id, Limit, Service, problems
from backend.http.route_policy import reads, writes
from backend.schemas.logs import MAX_NAME, LogList, LogsAccepted, LogSubmission
from models import LogLevel, Moment, Scope

router = GuardedRouter(
    tag="logs",
    prefix="/api/logs",
    policies={
        ("GET", "/api/logs"): reads(Scope.LOGS_READ),
        ("POST", "/api/logs"): writes(Scope.LOGS_WRITE),
    },
)

MAX_SEARCH = 255


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems("project_not_found", "agent_run_not_found", body=True),
)
async def append_logs(logs: Annotated[LogSubmission, Body()], service: Service) -> LogsAccepted:
    """Store one log, or up to 1,000 as `{"logs": […]}`: all of them, or none."""
    return LogsAccepted(accepted=await service.logs.append(logs))


@router.get("", responses=problems("bad_cursor"))
async def list_logs(
    service: Service,
    level: Annotated[
        LogLevel | None, Query(description="Only logs of this level and above.")
    ] = None,
    component: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
    correlation_id: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
    agent_run_id: Annotated[Id | None, Query()] = None,
    project_id: Annotated[Id | None, Query()] = None,
    since: Annotated[
        Moment | None, Query(description="Only logs from this time on, with a zone: `…Z`.")
    ] = None,
    until: Annotated[Moment | None, Query(description="Only logs up to this time.")] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=MAX_SEARCH,
            description="Words that the message contains, all of them, in any case.",
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> LogList:
    """One page of logs, newest first."""
    return await service.logs.page(
        level=level,
        component=component,
        correlation_id=correlation_id,
        agent_run_id=agent_run_id,
        project_id=project_id,
        since=since,
        until=until,
        text=q,
        limit=limit,
        cursor=cursor,
    )
