"""Giving runs to workers: claims, heartbeats, and taking back runs whose lease has expired."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from pydantic_core import from_json

from backend.errors import LeaseLost
from backend.repositories.agent_run_repository import RunningLease
from backend.schemas.runs import ClaimedRun, LeasedRun, RunClaim, RunHeartbeat
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.enclosing import StepFirst, enclosure
from backend.services.kinds import Kind
from backend.services.preconditions import matched
from backend.services.principal import SYSTEM, acting_as, current_principal
from backend.services.runs.access import (
    changeable_run,
    extended_lease,
    lease_end,
    lease_token_hash,
    require_lease,
)
from backend.services.runs.giving import Giving, Projects
from backend.services.runs.presence import Presence
from backend.services.runs.seeking import seeking
from database.engine import ALONE, Call
from database.errors import DatabaseError
from models import RunStatus

LEASE_RAN_OUT: Final = (
    "the lease expired for the second time: no worker that claimed this run stayed alive"
)
_LEASES_AT_ONCE: Final = 100
"""The number of leases taken back or renewed in one transaction, so that it stays short."""

logger = logging.getLogger("strongroom.leases")


class Claims(UseCases):
    """Claiming runs and keeping their leases."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.expired_leases: Counter[str] = Counter()
        """Leases that expired since the start, by what happened to their runs: `requeued` or
        `failed`."""
        self.presence = Presence(kit.now)
        """Whether the service has run without a gap. A server notes its presence here."""
        self._giving = Giving(kit)

    async def claim(self, claim: RunClaim) -> list[ClaimedRun]:
        """Up to the requested number of pending runs, now running and leased to the worker, each
        under a lease of its own. Fewer when their JSON exceeds the limit of a page.

        The runs and their order are the same as from that many claims of one run: the oldest run
        of a project, and the project that was served least recently.
        """
        return [ClaimedRun.model_validate_json(run) for run in await self.claim_json(claim)]

    async def claim_json(self, claim: RunClaim) -> list[bytes]:
        """The same, each as JSON."""
        self.presence.note_if_begun()
        asking = seeking.get()
        if asking is not None:
            projects = _claimable(claim.project_ids)
            asking.projects = frozenset(projects) if projects is not None else None
        around = enclosure.get()
        since = self.clock() if around is None else around.since
        has_expired = around is not None and around.has_stepped
        claimed = await self._claim(claim, not has_expired)
        if claimed is None:
            take_back = partial(self._make_way, since)
            if around is not None:
                raise StepFirst(take_back)
            await take_back()
            claimed = await self._claim(claim, False)  # noqa: FBT003 - one of the unit's arguments
        if asking is not None:
            asking.given = frozenset(from_json(run)["project_id"] for run in claimed or ())
        return claimed or []

    async def _make_way(self, since: datetime) -> None:
        """Take back expired leases for a claim that was asked for at `since`."""
        self.presence.note_wait(since)
        await self._expire_some()

    @unit_of_work(together="_claim_together")
    async def _claim(self, claim: RunClaim, expire_first: bool) -> list[bytes] | None:
        """The claimed runs; `None`, without a claim, when expired leases must be taken back
        first."""
        async with self.transaction() as repositories:
            if expire_first and await repositories.runs.has_expired_lease():
                return None
            projects = _claimable(claim.project_ids)
            given = await self._giving.give(repositories, claim, projects)
            await self.kit.audit.record_all(repositories, [run.event for run in given])
        return [run.json for run in given]

    async def _claim_together(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of several `_claim` at once. Those of one run from the same projects get
        what as many claims one after another would get."""
        outcomes: list[Any] = [ALONE] * len(calls)
        alike: dict[Projects, list[int]] = {}
        for place, call in enumerate(calls):
            claim, expire_first = call.arguments
            if claim.count is None and expire_first:
                alike.setdefault(call.context.run(_claimable, claim.project_ids), []).append(place)
        async with self.transaction() as repositories:
            if await repositories.runs.has_expired_lease():
                return outcomes
            for projects, places in alike.items():
                claims = [calls[place].arguments[0] for place in places]
                given = await self._giving.give_each(repositories, claims, projects)
                # If there are fewer runs than claims, the last ones find none on their own.
                for place, run in zip(places, given, strict=False):
                    outcomes[place] = [run.json]
                await self.kit.audit.record_calls(
                    repositories,
                    [
                        (calls[place], [run.event])
                        for place, run in zip(places, given, strict=False)
                    ],
                )
        return outcomes

    async def heartbeat(self, run_id: int, beat: RunHeartbeat) -> LeasedRun:
        """The run, its lease extended by the duration that the claim asked for.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, and `LeaseLost`
        when another lease has the run or the run is finished.
        """
        # The lease's end depends on a clock that may be set back before the next tick.
        self.presence.note_if_begun()
        if (around := enclosure.get()) is not None:
            around.on_failure = self.presence.note_failure
            return await self._extend(run_id, beat)
        try:
            return await self._extend(run_id, beat)
        except DatabaseError:
            self.presence.note_failure()
            raise

    @unit_of_work
    async def _extend(self, run_id: int, beat: RunHeartbeat) -> LeasedRun:
        async with self.transaction() as repositories:
            run = await changeable_run(repositories, run_id)
            matched(run.version)
            require_lease(run, beat.lease_token)
            extended = await repositories.runs.extend_lease(
                run_id, lease_token_hash(beat.lease_token), extended_lease(run, self.clock())
            )
            if extended is None:
                raise LeaseLost
        return LeasedRun.model_construct(**dict(extended))

    async def note_presence(self) -> None:
        """Note that the service is running now."""
        self.presence.note()

    async def check_leases(self) -> None:
        """Take back the runs whose lease has expired. After an absence of the service, all leases
        are first extended to their full time."""
        self.presence.note()
        if not self.presence.is_made_up_for:
            absences = self.presence.absences
            await self.renew_leases()
            self.presence.make_up_for(absences)
        try:
            await self.expire_leases()
        except DatabaseError:
            # Heartbeats could not be stored either, so this counts as an absence.
            self.presence.note_failure()
            raise

    async def renew_leases(self) -> int:
        """Extend each lease of a running run to its full time from now. Returns their number. The
        runs don't change."""
        leases = await self.repositories.runs.running_leases()
        for start in range(0, len(leases), _LEASES_AT_ONCE):
            await self._renew_some(leases[start : start + _LEASES_AT_ONCE])
        if leases:
            logger.info("%s leases were extended to their full time", len(leases))
        return len(leases)

    @unit_of_work
    async def _renew_some(self, leases: list[RunningLease]) -> None:
        now = self.clock()
        async with self.transaction() as repositories:
            await repositories.runs.renew_leases(
                [(lease_end(now, lease.seconds), lease.id) for lease in leases]
            )

    async def expire_leases(self) -> int:
        """Take back the runs whose lease has expired. Returns their number.

        The first time, a run is pending again in its old place; the second time, it fails. No run
        is taken back until an absence of the service is made up for.
        """
        total = 0
        # Checked on a reader, so that the writer has no work when no lease has expired.
        while await self.repositories.runs.has_expired_lease():
            expired = await self._expire_some()
            if not expired:
                break
            total += expired
        return total

    async def _expire_some(self) -> int:
        since = self.clock()
        task = asyncio.ensure_future(self._take_back(since))
        task.add_done_callback(lambda _: self.presence.note_wait(since))
        task.add_done_callback(self._count_expired)
        # The runs are taken back even if the claim's client disconnects.
        return (await asyncio.shield(task)).total()

    def _count_expired(self, task: "asyncio.Task[Counter[str]]") -> None:
        if not task.cancelled() and task.exception() is None:
            self.expired_leases.update(task.result())

    @unit_of_work
    async def _take_back(self, since: datetime) -> Counter[str]:
        """Take back some runs, and count them by what happened to them. None are taken back before
        an absence is made up for, or when the unit has waited for long since `since`."""
        outcomes: Counter[str] = Counter()
        if not self.presence.is_made_up_for or self.presence.has_waited(since):
            return outcomes
        # The audit names the service as the actor, whichever client's claim leads here.
        async with self.transaction() as repositories:
            with acting_as(SYSTEM):
                for run in await repositories.runs.expire_leases(
                    LEASE_RAN_OUT, limit=_LEASES_AT_ONCE
                ):
                    failed = run.status is RunStatus.FAILED
                    if not failed:
                        await repositories.run_queues.enqueue(run.project_id, run.id)
                    await self.kit.audit.record(
                        repositories,
                        Kind.AGENT_RUN_FAILED if failed else Kind.AGENT_RUN_REQUEUED,
                        target=f"agent_runs/{run.id}",
                        project_id=run.project_id,
                        fields=("status", "error_message") if failed else ("status",),
                        version=run.version,
                    )
                    outcomes["failed" if failed else "requeued"] += 1
        return outcomes


def _claimable(asked: list[int] | None) -> tuple[int, ...] | None:
    """The projects to claim from: the requested ones that the principal may see; `None` for
    all."""
    principal = current_principal()
    if asked is None:
        return principal.visible_ids
    return tuple(filter(principal.sees, sorted(set(asked))))
