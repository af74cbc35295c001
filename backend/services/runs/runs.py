"""Use cases for agent runs: creating, reading and changing them, and their transitions."""

from typing import Any, Final

from backend.errors import (
    AgentRunNotFound,
    InvalidField,
    InvalidTransition,
    ProjectNotFound,
)
from backend.repositories import Repositories
from backend.repositories.agent_run_repository import RunFilter
from backend.repositories.guarded_rows import PROJECTS
from backend.schemas.runs import (
    AgentRunCreate,
    AgentRunList,
    AgentRunUpdate,
    RunOutcome,
    RunTransition,
)
from backend.services.base import UseCases, differing, live_project, unit_of_work
from backend.services.kinds import Kind
from backend.services.principal import current_principal
from backend.services.runs.access import existing_run, extended_lease, writable_run
from backend.services.runs.states import FINAL, TRANSITIONS, sources
from models import AgentRun, Project, RunStatus, RunType

FIXED_WHEN_FINAL: Final = frozenset(
    {"target_text", "planning_statement", "run_type", "result", "error_message"}
)
"""The task and the outcome of a finished run. Its pull request, its validation and its metadata
can still change."""

KINDS: Final = {
    RunStatus.RUNNING: Kind.AGENT_RUN_STARTED,
    RunStatus.PAUSED: Kind.AGENT_RUN_PAUSED,
    RunStatus.COMPLETED: Kind.AGENT_RUN_COMPLETED,
    RunStatus.FAILED: Kind.AGENT_RUN_FAILED,
    RunStatus.CANCELLED: Kind.AGENT_RUN_CANCELLED,
}
"""What the audit calls the transition to each status."""


class Runs(UseCases):
    """Creating, reading, changing and ending runs."""

    @unit_of_work
    async def create(self, run: AgentRunCreate) -> AgentRun:
        """A new pending run with the project's next number. Raises `ProjectNotFound`."""
        async with self.transaction() as repositories:
            try:
                project = await live_project(repositories, run.project_id)
            except ProjectNotFound:
                raise ProjectNotFound(places=[("project_id",)]) from None
            data = run.model_dump(exclude={"project_id"})
            created = await add_run(repositories, project, data)
            await self.kit.audit.record(
                repositories,
                Kind.AGENT_RUN_CREATED,
                target=f"agent_runs/{created.id}",
                project_id=project.id,
                fields=run.model_fields_set - {"project_id"},
                version=created.version,
            )
            return created

    async def get(self, run_id: int) -> AgentRun:
        """The run. Raises `AgentRunNotFound`."""
        return await existing_run(self.repositories, run_id)

    async def page(
        self,
        *,
        project_id: int | None = None,
        statuses: tuple[RunStatus, ...] = (),
        run_types: tuple[RunType, ...] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> AgentRunList:
        """One page of runs, newest first, filtered by project, `statuses` and `run_types`; a filter
        that is not given allows all.

        Raises `BadCursor`.
        """
        text = await self.page_json(
            project_id=project_id,
            statuses=statuses,
            run_types=run_types,
            limit=limit,
            cursor=cursor,
        )
        return AgentRunList.model_validate_json(text)

    async def page_json(
        self,
        *,
        project_id: int | None = None,
        statuses: tuple[RunStatus, ...] = (),
        run_types: tuple[RunType, ...] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> bytes:
        """The same page as the JSON of an `AgentRunList`. Raises `BadCursor`."""
        ids = current_principal().visible_ids
        if project_id is not None:
            ids = (project_id,) if current_principal().sees(project_id) else ()
        listing = self.kit.listing("agent_runs", ids, statuses, run_types, cursor=cursor)
        filter = RunFilter(ids, statuses, run_types)
        return listing.json(
            await self.repositories.runs.json_page(filter, limit=limit, after=listing.after)
        )

    @unit_of_work
    async def update(self, run_id: int, update: AgentRunUpdate) -> AgentRun:
        """The run with the given fields changed; the same as before when none differs.

        Raises `AgentRunNotFound`, `LeaseLost`, `InvalidField` when the status differs, and
        `InvalidTransition` for fields that are fixed in a finished run.
        """
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, update.lease_token)
            changes = differing(run, update.given_fields())
            if not changes:
                return run
            if "status" in changes:
                raise InvalidField(
                    ("status",),
                    "status_by_transition",
                    "only POST /api/agent-runs/{id}/transitions can change a status",
                )
            fixed = sorted(FIXED_WHEN_FINAL.intersection(changes))
            if run.status in FINAL and fixed:
                raise _refusal(run, f"a finished run can't change its {', '.join(fixed)}")
            updated = await repositories.runs.update(run_id, changes)
            if updated is None:
                raise AgentRunNotFound
            await self._record_run(repositories, Kind.AGENT_RUN_UPDATED, updated, changes)
            return updated

    @unit_of_work
    async def transition(self, run_id: int, step: RunTransition) -> AgentRun:
        """The run, now in the status `step.to`, with its outcome.

        Raises `AgentRunNotFound`, `LeaseLost`, `InvalidTransition` when its status does not allow
        this step, and `ChangedOutside` when it can't start with its project or the configuration.
        """
        return await self._step(run_id, step.to, step)

    @unit_of_work
    async def cancel(self, run_id: int, outcome: RunOutcome) -> AgentRun:
        """The run, now cancelled. Raises what `transition` does."""
        return await self._step(run_id, RunStatus.CANCELLED, outcome)

    async def _step(self, run_id: int, target: RunStatus, outcome: RunOutcome) -> AgentRun:
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, outcome.lease_token)
            if target is RunStatus.RUNNING:
                # The run starts, or goes on, with the project and configuration as they are now.
                await self.kit.guard.require(repositories, PROJECTS, run.project_id)
                await self.kit.guard.configuration(repositories, run.project_id)
            given = outcome.outcome()
            # The update's own condition decides, so that only one of two racing requests succeeds.
            moved = await repositories.runs.transition(
                run_id,
                target,
                sources=sources(target),
                final=target in FINAL,
                outcome=given,
                # A lease can't expire during a pause, and a resumed run has its full time again.
                lease_expires_at=extended_lease(run, self.clock()),
            )
            if moved is None:
                current = await existing_run(repositories, run_id)
                raise _refusal(current, f"a run can't go from {current.status} to {target}")
            resumed = run.status is RunStatus.PAUSED and target is RunStatus.RUNNING
            kind = Kind.AGENT_RUN_RESUMED if resumed else KINDS[target]
            await self._record_run(repositories, kind, moved, {"status", *given})
            return moved

    async def _record_run(
        self,
        repositories: Repositories,
        kind: Kind,
        run: AgentRun,
        fields: "set[str] | dict[str, Any]",
    ) -> None:
        await self.kit.audit.record(
            repositories,
            kind,
            target=f"agent_runs/{run.id}",
            project_id=run.project_id,
            fields=fields,
            version=run.version,
        )


async def add_run(repositories: Repositories, project: Project, data: dict[str, Any]) -> AgentRun:
    """Create a pending run of the project, numbered and queued, inside a transaction.

    It takes `auto_merge_enabled` from the project, and notes the version of the settings.
    """
    settings = await repositories.settings.get_by_project_id(project.id)
    number = await repositories.run_queues.next_number(project.id)
    run = await repositories.runs.create(
        {
            "auto_merge_enabled": project.auto_merge_enabled,
            **data,
            "project_id": project.id,
            "run_number": number,
            # A claim refuses settings that were changed in the file, not the creation of a run.
            "settings_version": max(settings.version, 0) if settings is not None else 0,
        }
    )
    await repositories.run_queues.enqueue(project.id, run.id)
    return run


def _refusal(run: AgentRun, detail: str) -> InvalidTransition:
    # Another program may have written an unknown status, which leads nowhere.
    allowed = [to.value for to in TRANSITIONS.get(run.status, ())]
    return InvalidTransition(detail, current=run.status.value, allowed=allowed)
