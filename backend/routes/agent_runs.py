"""Agent runs over HTTP."""

from typing import Annotated

from fastapi import Query, Response, status

from backend.dependencies import (
    AnyOf,
    Cursor,
    GuardedRouter,
    Id,
    Limit,
    RunId,
    Service,
    json_response,
    problems,
)
from backend.http.route_policy import reads, writes
from backend.schemas.runs import (
    AgentRunCreate,
    AgentRunList,
    AgentRunUpdate,
    ClaimedRun,
    ClaimedRuns,
    LeasedRun,
    RunCancel,
    RunClaim,
    RunHeartbeat,
    RunTransition,
)
from models import AgentRun, RunStatus, RunType, Scope

router = GuardedRouter(
    tag="agent runs",
    prefix="/api/agent-runs",
    policies={
        ("GET", "/api/agent-runs/{run_id}"): reads(Scope.RUNS_READ),
        ("GET", "/api/agent-runs"): reads(Scope.RUNS_READ),
        ("POST", "/api/agent-runs"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/claim"): writes(Scope.RUNS_WRITE),
        ("PATCH", "/api/agent-runs/{run_id}"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/{run_id}/transitions"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/{run_id}/cancel"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/{run_id}/heartbeat"): writes(Scope.RUNS_WRITE),
    },
)

_CHANGED = problems("agent_run_not_found", "invalid_transition", "lease_lost", body=True)


@router.get("/{run_id}", responses=problems("agent_run_not_found"))
async def get_agent_run(run_id: RunId, service: Service) -> AgentRun:
    """The run."""
    return await service.runs.get(run_id)


@router.get("", response_model=AgentRunList, responses=problems("bad_cursor"))
async def list_agent_runs(
    service: Service,
    project_id: Annotated[Id | None, Query(description="Only runs of this project.")] = None,
    status: Annotated[AnyOf[RunStatus], Query(description="Only runs of these statuses.")] = (),
    run_type: Annotated[AnyOf[RunType], Query(description="Only runs of these types.")] = (),
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """One page of runs, newest first."""
    page = await service.runs.page_json(
        project_id=project_id, statuses=status, run_types=run_type, limit=limit, cursor=cursor
    )
    return json_response(page)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems("project_not_found", body=True),
)
async def create_agent_run(run: AgentRunCreate, service: Service, response: Response) -> AgentRun:
    """Create a pending run with the next number of its project."""
    created = await service.runs.create(run)
    response.headers["Location"] = f"/api/agent-runs/{created.id}"
    return created


@router.post(
    "/claim",
    response_model=ClaimedRun | ClaimedRuns,
    responses={
        204: {"description": "No run is pending.", "model": None},
        **problems(body=True),
    },
)
async def claim_agent_run(claim: RunClaim, service: Service) -> ClaimedRun | ClaimedRuns | Response:
    """Claim the oldest pending run, which is started and leased to you, or a list of up to
    `count` runs; 204 when none is pending.

    Among projects with pending runs, the one served least recently comes first.
    """
    claimed = await service.claims.claim(claim)
    if not claimed:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    if claim.count is None:
        return claimed[0]
    return ClaimedRuns.model_construct(agent_runs=claimed)


@router.patch("/{run_id}", responses=_CHANGED)
async def patch_agent_run(run_id: RunId, update: AgentRunUpdate, service: Service) -> AgentRun:
    """Change the given fields and leave the others; only transitions change the status."""
    return await service.runs.update(run_id, update)


@router.post(
    "/{run_id}/transitions",
    responses=problems(
        "agent_run_not_found", "invalid_transition", "lease_lost", "changed_outside", body=True
    ),
)
async def transition_agent_run(run_id: RunId, step: RunTransition, service: Service) -> AgentRun:
    """Move the run to another status; of two requests that race, exactly one succeeds."""
    return await service.runs.transition(run_id, step)


@router.post("/{run_id}/cancel", responses=_CHANGED)
async def cancel_agent_run(
    run_id: RunId, service: Service, outcome: RunCancel | None = None
) -> AgentRun:
    """Shorthand for the transition to cancelled; the body is optional."""
    return await service.runs.cancel(run_id, outcome or RunCancel())


@router.post(
    "/{run_id}/heartbeat", responses=problems("agent_run_not_found", "lease_lost", body=True)
)
async def heartbeat_agent_run(run_id: RunId, beat: RunHeartbeat, service: Service) -> LeasedRun:
    """Extend the lease of a claimed run by the time that the claim asked for."""
    return await service.claims.heartbeat(run_id, beat)
