"""Pipeline states of a run over HTTP."""

from fastapi import status

from backend.dependencies import Cursor, GuardedRouter, Limit, RunId, Service, problems
from backend.http.route_policy import reads, writes
from backend.schemas.runs import PipelineHistory, PipelineStateCreate, PipelineStateEntry
from models import Scope

router = GuardedRouter(
    tag="pipeline states",
    about="The steps of a run.",
    prefix="/api/agent-runs/{run_id}/pipeline-states",
    policies={
        ("GET", "/api/agent-runs/{run_id}/pipeline-states"): reads(Scope.RUNS_READ),
        ("POST", "/api/agent-runs/{run_id}/pipeline-states"): writes(Scope.RUNS_WRITE),
    },
)


@router.get("", responses=problems("agent_run_not_found", "bad_cursor"))
async def list_pipeline_states(
    run_id: RunId, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> PipelineHistory:
    """The run and one page of its states, oldest first, each with its duration."""
    return await service.pipeline_states.history(run_id, limit=limit, cursor=cursor)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems("agent_run_not_found", "project_not_found", "lease_lost", body=True),
)
async def add_pipeline_state(
    run_id: RunId, state: PipelineStateCreate, service: Service
) -> PipelineStateEntry:
    """Add a state to the history; the previous state is filled in automatically."""
    return await service.pipeline_states.add(run_id, state)
