"""Use cases for agent runs: creating, reading and changing them, and their transitions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from backend.errors import (
    AgentRunNotFound,
    InvalidField,
    InvalidTransition,
    ProjectNotFound,
)
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import PROJECTS
from backend.repositories.paging import JsonPage, Position
from backend.repositories.run_pages import RunFilter
from backend.schemas.runs import (
    AgentRunCreate,
    AgentRunList,
    AgentRunUpdate,
    ProjectRunCreate,
    RunChoice,
    RunOutcome,
    RunTransition,
)
from backend.services.base import UseCases, differing, existing_project, unit_of_work
from backend.services.kinds import Kind
from backend.services.preconditions import matched
from backend.services.principal import current_principal
from backend.services.redaction.redaction import EMPTY, Redaction
from backend.services.runs.access import (
    changeable_run,
    existing_run,
    extended_lease,
    require_lease,
)
from backend.services.runs.new_runs import add_runs, defaults_of_runs
from backend.services.runs.states import FINAL, TRANSITIONS, sources
from database.base import time_text
from database.engine import ALONE, Call
from models import MAX_TEXT, AgentRun, RunStatus

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


ALL_RUNS: Final = RunChoice()
_OUTCOME: Final = ("result", "error_message")


class Runs(UseCases):
    """Creating, reading, changing and ending runs."""

    async def create(self, run: AgentRunCreate) -> AgentRun:
        """A new pending run with the project's next number. Raises `ProjectNotFound`."""
        _, created = await self.create_json(run)
        return AgentRun.model_validate_json(created)

    @unit_of_work(together="create_together")
    async def create_json(self, run: AgentRunCreate) -> tuple[int, bytes]:
        """The same, with the run's id and its JSON."""
        async with self.transaction() as repositories:
            defaults = await defaults_of_runs(repositories, [run])
            if not current_principal().sees(run.project_id) or run.project_id not in defaults:
                raise ProjectNotFound(places=[("project_id",)])
            redaction = await self.kit.redactor.begin(repositories, run.project_id)
            redacted = _redacted(redaction, run)
            [new] = await add_runs(repositories, [redacted], defaults)
            await self.kit.audit.record_all(repositories, [new.event])
            await self._record_leaks(repositories, redaction, run.project_id, new.id)
            return new.id, new.json

    async def create_in_project_json(
        self, project_id: int, run: ProjectRunCreate
    ) -> tuple[int, bytes]:
        """The same for a run whose project the path names."""
        try:
            return await self.create_json(run.in_project(project_id))
        except ProjectNotFound:
            # The body has no place for it.
            raise ProjectNotFound from None

    async def create_together(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of several `create_json` at once."""
        outcomes: list[Any] = [ALONE] * len(calls)
        runs: list[AgentRunCreate] = [call.arguments[0] for call in calls]
        async with self.transaction() as repositories:
            defaults = await defaults_of_runs(repositories, runs)
            fit = [
                place
                for place, (call, run) in enumerate(zip(calls, runs, strict=True))
                if run.project_id in defaults
                and call.context.run(current_principal).sees(run.project_id)
                # What has a value is recorded for its principal.
                and not await self._leaks(repositories, run)
            ]
            if not fit:
                return outcomes
            new = await add_runs(repositories, [runs[place] for place in fit], defaults)
            for place, one in zip(fit, new, strict=True):
                outcomes[place] = (one.id, one.json)
            await self.kit.audit.record_calls(
                repositories,
                [(calls[place], [one.event]) for place, one in zip(fit, new, strict=True)],
            )
        return outcomes

    async def get(self, run_id: int) -> AgentRun:
        """The run. Raises `AgentRunNotFound`."""
        return await existing_run(self.repositories, run_id)

    async def page(self, chosen: RunChoice = ALL_RUNS, **page: Any) -> AgentRunList:
        """One page of runs, with the arguments of `page_json`. Raises `BadCursor`."""
        return AgentRunList.model_validate_json(await self.page_json(chosen, **page))

    async def page_json(
        self,
        chosen: RunChoice = ALL_RUNS,
        *,
        sort: str = "-created_at",
        limit: int = 50,
        cursor: str | None = None,
    ) -> bytes:
        """One page of the chosen runs that the principal sees, as the JSON of an `AgentRunList`.
        `sort` is `created_at` or `updated_at`, with `-` in front for descending order.

        Raises `BadCursor`.
        """
        filter = _filter(chosen)
        listing = self.kit.listing("agent_runs", filter, sort, cursor=cursor)
        # Several statements must see the same runs.
        read = self._read_found if filter.needs_transaction else self.repositories.runs.json_page
        return listing.json(await read(filter, sort=sort, limit=limit, after=listing.after))

    async def page_of_project_json(
        self, project_id: int, chosen: RunChoice = ALL_RUNS, **page: Any
    ) -> bytes:
        """The same for the runs of one project, deleted or not. Raises `ProjectNotFound` too."""
        await existing_project(self.repositories, project_id)
        return await self.page_json(replace(chosen, project_id=project_id), **page)

    @unit_of_work(read_only=True)
    async def _read_found(
        self, filter: RunFilter, *, sort: str, limit: int, after: Position | None
    ) -> JsonPage:
        async with self.transaction() as repositories:
            return await repositories.runs.json_page(filter, sort=sort, limit=limit, after=after)

    @unit_of_work
    async def update(self, run_id: int, update: AgentRunUpdate) -> AgentRun:
        """The run with the given fields changed; the same as before when none differs.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, `LeaseLost`,
        `InvalidField` when the status differs, and `InvalidTransition` for fields that are fixed in
        a finished run.
        """
        async with self.transaction() as repositories:
            run = await changeable_run(repositories, run_id)
            expected = matched(run.version)
            require_lease(run, update.lease_token)
            redaction = await self.kit.redactor.begin(repositories, run.project_id)
            given = redaction.fields(
                update.given_fields(), texts=_OUTCOME, objects=("metadata",), most=MAX_TEXT
            )
            changes = differing(run, given)
            if not changes:
                # Otherwise a value could be tried unseen: only the right one changes nothing.
                await self._record_leaks(repositories, redaction, run.project_id, run_id)
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
            updated = await repositories.runs.change(run_id, changes, expected=expected)
            if updated is None:
                raise AgentRunNotFound
            await self._record_run(repositories, Kind.AGENT_RUN_UPDATED, updated, changes)
            await self._record_leaks(repositories, redaction, run.project_id, run_id)
            return updated

    @unit_of_work
    async def transition(self, run_id: int, step: RunTransition) -> AgentRun:
        """The run, now in the status `step.to`, with its outcome.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, `LeaseLost`,
        `InvalidTransition` when its status does not allow this step, and `ChangedOutside` when it
        can't start with its project or the configuration.
        """
        return await self._step(run_id, step.to, step)

    @unit_of_work
    async def cancel(self, run_id: int, outcome: RunOutcome) -> AgentRun:
        """The run, now cancelled. Raises what `transition` does."""
        return await self._step(run_id, RunStatus.CANCELLED, outcome)

    async def _step(self, run_id: int, target: RunStatus, outcome: RunOutcome) -> AgentRun:
        async with self.transaction() as repositories:
            run = await changeable_run(repositories, run_id)
            expected = matched(run.version)
            require_lease(run, outcome.lease_token)
            return await self._move(
                repositories, run, target, outcome.outcome(), sources(target), expected
            )

    async def resume(
        self, repositories: Repositories, run: AgentRun, expected: int | None
    ) -> AgentRun:
        """The paused run, which was just read in this transaction, running again. `expected` is
        what `matched` has returned for it.

        Raises `InvalidTransition` when it is not paused, and `ChangedOutside` when it can't go on
        with its project or the configuration.
        """
        if run.status is not RunStatus.PAUSED:
            raise _refusal(run, "only a paused run can be continued")
        return await self._move(
            repositories, run, RunStatus.RUNNING, {}, (RunStatus.PAUSED,), expected
        )

    async def _move(
        self,
        repositories: Repositories,
        run: AgentRun,
        target: RunStatus,
        outcome: Mapping[str, str | None],
        allowed: Sequence[RunStatus],
        expected: int | None,
    ) -> AgentRun:
        if target is RunStatus.RUNNING:
            # The run starts, or goes on, with the project and configuration as they are now.
            await self.kit.guard.require(repositories, PROJECTS, run.project_id)
            await self.kit.guard.configuration(repositories, run.project_id)
        redaction = await self.kit.redactor.begin(repositories, run.project_id)
        given = redaction.fields(outcome, texts=_OUTCOME, most=MAX_TEXT)
        # The update's own condition decides, so that only one of two racing requests succeeds.
        moved = await repositories.runs.transition(
            run.id,
            target,
            sources=allowed,
            final=target in FINAL,
            outcome=given,
            expected=expected,
            # A lease can't expire during a pause, and a resumed run has its full time again.
            lease_expires_at=extended_lease(run, self.clock()),
        )
        if moved is None:
            current = await existing_run(repositories, run.id)
            raise _refusal(current, f"a run can't go from {current.status} to {target}")
        resumed = run.status is RunStatus.PAUSED and target is RunStatus.RUNNING
        kind = Kind.AGENT_RUN_RESUMED if resumed else KINDS[target]
        await self._record_run(repositories, kind, moved, {"status", *given})
        await self._record_leaks(repositories, redaction, run.project_id, run.id)
        return moved

    async def _leaks(self, repositories: Repositories, run: AgentRunCreate) -> bool:
        """Whether a new run's metadata has a value of a secret."""
        if run.metadata == EMPTY:
            return False
        redaction = await self.kit.redactor.begin(repositories, run.project_id)
        return redaction.finds(run.metadata)

    async def _record_leaks(
        self, repositories: Repositories, redaction: Redaction, project_id: int, run_id: int
    ) -> None:
        place = f"agent-runs/{run_id}"
        await self.kit.redactor.record(repositories, project_id, redaction.take_found(), place)

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


def _redacted(redaction: Redaction, run: AgentRunCreate) -> AgentRunCreate:
    metadata = redaction.json_text(run.metadata)
    return run if metadata is run.metadata else run.model_copy(update={"metadata": metadata})


def _filter(chosen: RunChoice) -> RunFilter:
    """The chosen runs, as far as the principal sees them."""
    principal, project_id = current_principal(), chosen.project_id
    ids = principal.visible_ids
    if project_id is not None:
        ids = (project_id,) if principal.sees(project_id) else ()
    return RunFilter(
        ids,
        chosen.statuses,
        chosen.run_types,
        chosen.worker,
        time_text(chosen.since) if chosen.since is not None else None,
        time_text(chosen.until) if chosen.until is not None else None,
        chosen.text,
    )


def _refusal(run: AgentRun, detail: str) -> InvalidTransition:
    # Another program may have written an unknown status, which leads nowhere.
    allowed = [to.value for to in TRANSITIONS.get(run.status, ())]
    return InvalidTransition(detail, current=run.status.value, allowed=allowed)
