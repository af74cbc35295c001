# Made of strongroom/_async by `make schema`: change it there.
"""The history of what a run went through."""

from collections.abc import Mapping
from typing import Any

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.transport import parsed
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import PipelineHistory, PipelineStateEntry, PipelineStateName


class PipelineStates(Resource):
    """`client.pipeline_states`."""

    @operation("addPipelineState")
    def create(
        self,
        run_id: int,
        *,
        state: PipelineStateName,
        lease_token: str | Unset | None = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> PipelineStateEntry:
        """Add a state to the history; the previous state is filled in automatically."""
        response = self._transport.post(
            f"/api/agent-runs/{run_id}/pipeline-states",
            fields(state=state, lease_token=lease_token, metadata=metadata),
            idempotency_key=idempotency_key,
        )
        return parsed(PipelineStateEntry, response)

    @operation("listPipelineStates")
    def list(
        self, run_id: int, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[PipelineStateEntry, PipelineHistory]:
        """The states of the run, oldest first, each with its duration. The `answer` of a page has
        the run."""
        return Pages(
            self._transport,
            f"/api/agent-runs/{run_id}/pipeline-states",
            filters(limit=limit, cursor=cursor),
            PipelineHistory,
            lambda page: page.pipeline_states,
        )
