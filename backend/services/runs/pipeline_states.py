"""Use cases for pipeline states: the history of a run's pipeline, and how long each state took."""

from backend.repositories.pipeline_state_repository import TimedState
from backend.schemas.runs import PipelineHistory, PipelineStateCreate, PipelineStateEntry
from backend.services.base import UseCases, unit_of_work
from backend.services.kinds import Kind
from backend.services.runs.access import existing_run, writable_run
from models import utc_datetime


class PipelineStates(UseCases):
    """Adding to the history of a run, and reading it."""

    @unit_of_work
    async def add(self, run_id: int, state: PipelineStateCreate) -> PipelineStateEntry:
        """Add a state at the end of the run's history, and return it with the state before it.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, and `LeaseLost`.
        """
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, state.lease_token)
            redaction = await self.kit.redactor.begin(repositories, run.project_id)
            metadata = redaction.json_text(state.metadata)
            added = await repositories.pipeline_states.append(run_id, state.state, metadata)
            await self.kit.audit.record(
                repositories,
                Kind.PIPELINE_STATE_ADDED,
                target=f"agent_runs/{run_id}",
                project_id=run.project_id,
                fields=state.model_fields_set - {"lease_token"},
                version=run.version,
            )
            place = f"agent-runs/{run_id}/pipeline-states"
            await self.kit.redactor.record(
                repositories, run.project_id, redaction.take_found(), place
            )
        return _entry(TimedState(added, next_at=None))

    @unit_of_work(read_only=True)
    async def history(self, run_id: int, *, limit: int, cursor: str | None) -> PipelineHistory:
        """The run and one page of its states, oldest first, from one snapshot.

        Raises `AgentRunNotFound` and `BadCursor`.
        """
        listing = self.kit.listing("pipeline_states", run_id, cursor=cursor)
        async with self.transaction() as repositories:
            run = await existing_run(repositories, run_id)
            # The answer contains the run as well, so its bytes count.
            page = await repositories.pipeline_states.history(
                run_id, limit=limit, after=listing.after, used=len(run.model_dump_json().encode())
            )
        states = [_entry(item) for item in page.items]
        return listing.answer(PipelineHistory, page, agent_run=run, pipeline_states=states)


def _entry(timed: TimedState) -> PipelineStateEntry:
    duration = None
    begin = utc_datetime(timed.state.created_at)
    end = utc_datetime(timed.next_at) if timed.next_at is not None else None
    if begin is not None and end is not None:
        # It would be negative if the clock was set back in between.
        duration = max(0.0, (end - begin).total_seconds())
    return PipelineStateEntry.model_construct(**dict(timed.state), duration_seconds=duration)
