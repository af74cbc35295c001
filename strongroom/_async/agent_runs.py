"""Agent runs, and what a worker does with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import (
    AgentRun,
    AgentRunList,
    ClaimedRun,
    ClaimedRuns,
    LeasedRun,
    ProjectSettings,
    RunStatus,
    RunType,
    ValidationStatus,
)


class AgentRuns(Resource):
    """`client.agent_runs`."""

    @operation("createAgentRun", "createProjectAgentRun")
    async def create(
        self,
        *,
        project_id: int,
        target_text: str,
        metadata: Mapping[str, Any] | Unset = UNSET,
        planning_statement: str | Unset | None = UNSET,
        run_type: RunType | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        """Create a pending run with the next number of its project."""
        response = await self._transport.post(
            "/api/agent-runs",
            fields(
                project_id=project_id,
                target_text=target_text,
                metadata=metadata,
                planning_statement=planning_statement,
                run_type=run_type,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(AgentRun, response)

    @operation("getAgentRun")
    async def get(
        self, run_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> AgentRun:
        """The run."""
        response = await self._transport.get(
            f"/api/agent-runs/{run_id}", if_none_match=if_none_match, wait=wait
        )
        return parsed(AgentRun, response)

    @operation("listAgentRuns", "listProjectAgentRuns")
    def list(
        self,
        *,
        project_id: int | None = None,
        status: RunStatus | Sequence[RunStatus] | None = None,
        run_type: RunType | Sequence[RunType] | None = None,
        worker: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        q: str | None = None,
        sort: Literal["created_at", "-created_at", "updated_at", "-updated_at"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[AgentRun, AgentRunList]:
        """Runs, newest first unless `sort` says otherwise."""
        return Pages(
            self._transport,
            "/api/agent-runs",
            filters(
                project_id=project_id,
                status=status,
                run_type=run_type,
                worker=worker,
                since=since,
                until=until,
                q=q,
                sort=sort,
                limit=limit,
                cursor=cursor,
            ),
            AgentRunList,
            lambda page: page.agent_runs,
        )

    @operation("patchAgentRun")
    async def update(
        self,
        run_id: int,
        *,
        auto_merge_enabled: bool | Unset = UNSET,
        codegen_run_id: str | Unset | None = UNSET,
        error_message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        merge_completed: bool | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        planning_statement: str | Unset | None = UNSET,
        pr_number: int | Unset | None = UNSET,
        pr_url: str | Unset | None = UNSET,
        result: str | Unset | None = UNSET,
        run_type: RunType | Unset = UNSET,
        target_text: str | Unset = UNSET,
        validation_status: ValidationStatus | Unset = UNSET,
        web_url: str | Unset | None = UNSET,
        if_match: int | str | None = None,
    ) -> AgentRun:
        """Change the given fields and leave the others; only transitions change the status."""
        response = await self._transport.change(
            "PATCH",
            f"/api/agent-runs/{run_id}",
            fields(
                auto_merge_enabled=auto_merge_enabled,
                codegen_run_id=codegen_run_id,
                error_message=error_message,
                lease_token=lease_token,
                merge_completed=merge_completed,
                metadata=metadata,
                planning_statement=planning_statement,
                pr_number=pr_number,
                pr_url=pr_url,
                result=result,
                run_type=run_type,
                target_text=target_text,
                validation_status=validation_status,
                web_url=web_url,
            ),
            if_match=if_match,
        )
        return parsed(AgentRun, response)

    @operation("transitionAgentRun")
    async def transition(
        self,
        run_id: int,
        *,
        to: RunStatus,
        error_message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        result: str | Unset | None = UNSET,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        """Move the run to another status; of two requests that race, exactly one succeeds."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/transitions",
            fields(to=to, error_message=error_message, lease_token=lease_token, result=result),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(AgentRun, response)

    @operation("cancelAgentRun")
    async def cancel(
        self,
        run_id: int,
        *,
        error_message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        result: str | Unset | None = UNSET,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        """Short for the transition to cancelled."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/cancel",
            fields(error_message=error_message, lease_token=lease_token, result=result),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(AgentRun, response)

    @operation("continueAgentRun")
    async def resume(
        self,
        run_id: int,
        *,
        message: str | Unset | None = UNSET,
        lease_token: str | Unset | None = UNSET,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        """Let the paused run go on, with a message of the user if one is given."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/continue",
            fields(lease_token=lease_token, message=message),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(AgentRun, response)

    @operation("claimAgentRun")
    async def claim(
        self,
        *,
        worker: str,
        project_ids: Sequence[int] | None = None,
        lease_seconds: int | Unset = UNSET,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> ClaimedRun | None:
        """Claim the oldest pending run, which is started and leased to you; None if there is none,
        after `wait` seconds at most. Among projects with pending runs, the one served least
        recently comes first."""
        response = await self._transport.post(
            "/api/agent-runs/claim",
            fields(worker=worker, lease_seconds=lease_seconds, project_ids=project_ids),
            wait=wait,
            idempotency_key=idempotency_key,
        )
        return parsed(ClaimedRun, response) if response.content else None

    @operation("claimAgentRun")
    async def claim_many(
        self,
        count: int,
        *,
        worker: str,
        project_ids: Sequence[int] | None = None,
        lease_seconds: int | Unset = UNSET,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Sequence[ClaimedRun]:
        """The same for up to `count` runs."""
        response = await self._transport.post(
            "/api/agent-runs/claim",
            fields(
                worker=worker, count=count, lease_seconds=lease_seconds, project_ids=project_ids
            ),
            wait=wait,
            idempotency_key=idempotency_key,
        )
        return parsed(ClaimedRuns, response).agent_runs if response.content else []

    @operation("heartbeatAgentRun")
    async def heartbeat(
        self,
        run_id: int,
        *,
        lease_token: str,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> LeasedRun:
        """Extend the lease of a claimed run by the time that the claim asked for."""
        response = await self._transport.post(
            f"/api/agent-runs/{run_id}/heartbeat",
            fields(lease_token=lease_token),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(LeasedRun, response)

    @operation("getAgentRunConfiguration")
    async def configuration(
        self, run_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> ProjectSettings:
        """The configuration that the run started with, whatever it is by now; before its start, the
        one that it was created with."""
        response = await self._transport.get(
            f"/api/agent-runs/{run_id}/configuration", if_none_match=if_none_match, wait=wait
        )
        return parsed(ProjectSettings, response)
