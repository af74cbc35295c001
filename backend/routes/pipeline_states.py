"""Pipeline states of a run over HTTP."""

from fastapi import APIRouter, status

from backend.dependencies import Cursor, GuardedRoute, Limit, RunId, Service, problems
from backend.schemas.runs import PipelineHistory, PipelineStateCreate, PipelineStateEntry

router = APIRouter(
    prefix="/api/agent-runs/{run_id}/pipeline-states",
    tags=["pipeline states"],
    route_class=GuardedRoute,
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
    responses=problems("agent_run_not_found", "lease_lost", body=True),
)
async def add_pipeline_state(
    run_id: RunId, state: PipelineStateCreate, service: Service
) -> PipelineStateEntry:
    """Add a state to the history; the previous state is filled in automatically."""
    return await service.pipeline_states.add(run_id, state)
