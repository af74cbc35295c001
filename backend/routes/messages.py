"""Messages of runs over HTTP."""

from typing import Annotated

from fastapi import Query, Request, Response, status

from backend.dependencies import Cursor, GuardedRouter, Limit, RunId, Service, problems
from backend.http.route_policy import reads, writes
from backend.http.streams.answer import open_stream, wants_stream
from backend.http.streams.parameters import AfterId, place_of
from backend.schemas.messages import MessageCreate, MessageList, RunContinue
from backend.services.places import Place
from models import AgentRun, Message, MessageRole, Scope

router = GuardedRouter(
    tag="messages",
    about="What people and the agent of a run say to each other.",
    prefix="/api/agent-runs/{run_id}",
    policies={
        ("GET", "/api/agent-runs/{run_id}/messages"): reads(Scope.RUNS_READ, follows=True),
        ("POST", "/api/agent-runs/{run_id}/messages"): writes(Scope.RUNS_WRITE, may_change=True),
        ("POST", "/api/agent-runs/{run_id}/continue"): writes(Scope.RUNS_WRITE),
    },
)


@router.get(
    "/messages",
    response_model=MessageList,
    responses=problems("agent_run_not_found", "bad_cursor"),
)
async def list_messages(
    run_id: RunId,
    request: Request,
    service: Service,
    role: Annotated[MessageRole | None, Query(description="Only messages with this role.")] = None,
    after_id: Annotated[
        AfterId | None,
        Query(
            description="Only messages after this id, oldest first; 0 begins at the oldest. A "
            "stream without it begins now."
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> MessageList | Response:
    """One page of the run's messages, newest first, or with `after_id` oldest first. With
    `Accept: text/event-stream`, a stream of them."""
    after = place_of(after_id)
    if wants_stream(request):
        return await _follow(request, run_id, service, role, after, cursor)
    return await service.messages.page(run_id, role=role, after=after, limit=limit, cursor=cursor)


async def _follow(
    request: Request,
    run_id: int,
    service: Service,
    role: MessageRole | None,
    after: Place | None,
    cursor: str | None,
) -> Response:
    # There is no stream of a run that the token may not see.
    wanted = await service.messages.wanted(run_id, role)
    return await open_stream(
        request, service.messages.feed, wanted, after=after, cursor=cursor, name="after_id"
    )


@router.post(
    "/messages",
    status_code=status.HTTP_201_CREATED,
    responses=problems(
        *("agent_run_not_found", "project_not_found", "invalid_transition", "lease_lost"),
        "changed_outside",
        body=True,
    ),
)
async def add_message(run_id: RunId, message: MessageCreate, service: Service) -> Message:
    """Add a message to the run's conversation. A message of the user with `"continue": true` also
    lets the paused run go on, in the same transaction."""
    return await service.messages.add(run_id, message)


@router.post(
    "/continue",
    responses=problems(
        *("agent_run_not_found", "project_not_found", "invalid_transition", "lease_lost"),
        "changed_outside",
        body=True,
    ),
)
async def continue_agent_run(
    run_id: RunId, service: Service, continuation: RunContinue | None = None
) -> AgentRun:
    """Let the paused run go on, with a message of the user if the optional body has one."""
    return await service.messages.continue_run(run_id, continuation or RunContinue())
