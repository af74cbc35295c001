"""Agent runs over HTTP."""

from typing import Annotated, Literal

from fastapi import Query, Response, status

from backend.dependencies import (
    AnyOf,
    Cursor,
    GuardedRouter,
    Id,
    Limit,
    ProjectId,
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
    ProjectRunCreate,
    RunCancel,
    RunChoice,
    RunClaim,
    RunHeartbeat,
    RunTransition,
)
from models import NO_NUL_PATTERN, AgentRun, Moment, RunStatus, RunType, Scope

router = GuardedRouter(
    tag="agent runs",
    about="The work of agents: runs, claims and leases.",
    prefix="/api/agent-runs",
    policies={
        ("GET", "/api/agent-runs/{run_id}"): reads(Scope.RUNS_READ),
        ("GET", "/api/agent-runs"): reads(
            Scope.RUNS_READ, slow_with=("q", "worker", "since", "until")
        ),
        ("POST", "/api/agent-runs"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/claim"): writes(Scope.RUNS_WRITE, claims=True),
        ("PATCH", "/api/agent-runs/{run_id}"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/{run_id}/transitions"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/{run_id}/cancel"): writes(Scope.RUNS_WRITE),
        ("POST", "/api/agent-runs/{run_id}/heartbeat"): writes(Scope.RUNS_WRITE),
    },
)

in_projects = GuardedRouter(
    tag="agent runs",
    prefix="/api/projects/{project_id}/agent-runs",
    policies={
        ("GET", "/api/projects/{project_id}/agent-runs"): reads(
            Scope.RUNS_READ, slow_with=("q", "worker", "since", "until")
        ),
        ("POST", "/api/projects/{project_id}/agent-runs"): writes(Scope.RUNS_WRITE),
    },
)

_CHANGED = problems(
    "agent_run_not_found", "project_not_found", "invalid_transition", "lease_lost", body=True
)


@router.get("/{run_id}", responses=problems("agent_run_not_found"))
async def get_agent_run(run_id: RunId, service: Service) -> AgentRun:
    """The run."""
    return await service.runs.get(run_id)


Statuses = Annotated[AnyOf[RunStatus], Query(description="Only runs of these statuses.")]
RunTypes = Annotated[AnyOf[RunType], Query(description="Only runs of these types.")]
Worker = Annotated[
    str | None,
    Query(
        max_length=255,
        pattern=NO_NUL_PATTERN,
        description="Only runs that this worker has, or had last.",
    ),
]
Since = Annotated[
    Moment | None,
    Query(description="Only runs created from this time on, with a zone: `…Z`."),
]
Until = Annotated[Moment | None, Query(description="Only runs created up to this time.")]
Searched = Annotated[
    str | None,
    Query(
        max_length=255,
        pattern=NO_NUL_PATTERN,
        description="Part of the target text, in any case.",
    ),
]
Sort = Annotated[
    Literal["created_at", "-created_at", "updated_at", "-updated_at"],
    Query(description="`-` in front for descending."),
]


@router.get("", response_model=AgentRunList, responses=problems("bad_cursor"))
async def list_agent_runs(
    service: Service,
    project_id: Annotated[Id | None, Query(description="Only runs of this project.")] = None,
    status: Statuses = (),
    run_type: RunTypes = (),
    worker: Worker = None,
    since: Since = None,
    until: Until = None,
    q: Searched = None,
    sort: Sort = "-created_at",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """One page of runs."""
    chosen = RunChoice(project_id, status, run_type, worker, since, until, q)
    page = await service.runs.page_json(chosen, sort=sort, limit=limit, cursor=cursor)
    return json_response(page)


@in_projects.get(
    "", response_model=AgentRunList, responses=problems("project_not_found", "bad_cursor")
)
async def list_project_agent_runs(
    project_id: ProjectId,
    service: Service,
    status: Statuses = (),
    run_type: RunTypes = (),
    worker: Worker = None,
    since: Since = None,
    until: Until = None,
    q: Searched = None,
    sort: Sort = "-created_at",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """One page of the project's runs."""
    chosen = RunChoice(None, status, run_type, worker, since, until, q)
    page = await service.runs.page_of_project_json(
        project_id, chosen, sort=sort, limit=limit, cursor=cursor
    )
    return json_response(page)


@in_projects.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=AgentRun,
    responses=problems("project_not_found", body=True),
)
async def create_project_agent_run(
    project_id: ProjectId, run: ProjectRunCreate, service: Service
) -> Response:
    """Create a pending run with the next number of the project."""
    run_id, created = await service.runs.create_in_project_json(project_id, run)
    return json_response(created, location=f"/api/agent-runs/{run_id}")


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=AgentRun,
    responses=problems("project_not_found", body=True),
)
async def create_agent_run(run: AgentRunCreate, service: Service) -> Response:
    """Create a pending run with the next number of its project."""
    run_id, created = await service.runs.create_json(run)
    return json_response(created, location=f"/api/agent-runs/{run_id}")


@router.post(
    "/claim",
    response_model=ClaimedRun | ClaimedRuns,
    responses={
        204: {"description": "No run is pending.", "model": None},
        **problems(body=True),
    },
)
async def claim_agent_run(claim: RunClaim, service: Service) -> Response:
    """Claim the oldest pending run, which is started and leased to you, or a list of up to
    `count` runs; 204 when none is pending.

    Among projects with pending runs, the one served least recently comes first. With
    `Prefer: wait=N`, the answer comes as soon as there is a run, and after N seconds at the latest.
    """
    claimed = await service.claims.claim_json(claim)
    if not claimed:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    if claim.count is None:
        return json_response(claimed[0])
    return json_response(b'{"agent_runs":[%b]}' % b",".join(claimed))


@router.patch("/{run_id}", responses=_CHANGED)
async def patch_agent_run(run_id: RunId, update: AgentRunUpdate, service: Service) -> AgentRun:
    """Change the given fields and leave the others; only transitions change the status."""
    return await service.runs.update(run_id, update)


@router.post(
    "/{run_id}/transitions",
    responses=problems(
        *("agent_run_not_found", "project_not_found", "invalid_transition", "lease_lost"),
        "changed_outside",
        body=True,
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
    "/{run_id}/heartbeat",
    responses=problems("agent_run_not_found", "project_not_found", "lease_lost", body=True),
)
async def heartbeat_agent_run(run_id: RunId, beat: RunHeartbeat, service: Service) -> LeasedRun:
    """Extend the lease of a claimed run by the time that the claim asked for."""
    return await service.claims.heartbeat(run_id, beat)
