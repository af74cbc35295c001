"""Giving runs to workers: claims, heartbeats, and taking back runs whose lease has expired."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic_core import to_json

from backend.errors import LeaseLost
from backend.repositories import Repositories
from backend.repositories.agent_run_repository import Lease, RunningLease
from backend.repositories.guarded_rows import PROJECTS
from backend.repositories.paging import MAX_PAGE_BYTES
from backend.schemas.runs import ClaimedRun, LeasedRun, RunClaim, RunHeartbeat
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.kinds import Kind
from backend.services.principal import SYSTEM, acting_as, current_principal
from backend.services.recording import AuditEvent
from backend.services.runs.access import (
    extended_lease,
    lease_end,
    lease_token_hash,
    writable_run,
)
from backend.services.runs.presence import Presence
from backend.services.runs.turns import Turn, end_turns, next_turns
from database.errors import CheckViolation, DatabaseError
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
        self._told: set[int] = set()
        """Projects whose forgery, or that of their configuration, was logged."""

    async def claim(self, claim: RunClaim) -> list[ClaimedRun]:
        """Up to the requested number of pending runs, now running and leased to the worker, each
        under a lease of its own. Fewer when their JSON exceeds the limit of a page.

        The runs and their order are the same as from that many claims of one run: the oldest run
        of a project, and the project that was served least recently.
        """
        self.presence.note_if_begun()
        since = self.clock()
        claimed = await self._claim(claim, expire_first=True)
        if claimed is None:
            self.presence.note_wait(since)
            await self._expire_some()
            claimed = await self._claim(claim, expire_first=False)
        return claimed or []

    @unit_of_work
    async def _claim(self, claim: RunClaim, *, expire_first: bool) -> list[ClaimedRun] | None:
        """The claimed runs; `None`, without a claim, when expired leases must be taken back
        first."""
        async with self.transaction() as repositories:
            if expire_first and await repositories.runs.has_expired_lease():
                return None
            claimed: list[ClaimedRun] = []
            passed_over: set[int] = set()
            while not claimed:
                turns = await next_turns(
                    repositories, _claimable(claim.project_ids), claim.count or 1
                )
                forged = await self._forged_projects(repositories, turns)
                claimed = await self._claim_turns(repositories, claim, turns, forged)
                if forged <= passed_over:
                    break
                # Their turns have ended, so other projects come next.
                passed_over |= forged
            await self.kit.audit.record_all(
                repositories,
                [
                    AuditEvent(
                        Kind.AGENT_RUN_CLAIMED,
                        f"agent_runs/{run.id}",
                        run.project_id,
                        ("status",),
                        run.version,
                    )
                    for run in claimed
                ],
            )
        return claimed

    async def _claim_turns(
        self,
        repositories: Repositories,
        claim: RunClaim,
        turns: Sequence[Turn],
        forged: set[int],
    ) -> list[ClaimedRun]:
        """Claim the runs of these turns, but not of the projects in `forged`, and end the turns.
        Adds projects whose next run can't be claimed to `forged`."""
        claimed, ended = [], []
        room = MAX_PAGE_BYTES
        for turn in turns:
            if turn.project_id in forged:
                ended.append(turn)
                continue
            token = secrets.token_urlsafe(32)
            try:
                run = await repositories.runs.claim(turn.run_id, self._lease(claim, token))
            except CheckViolation:
                # Another program wrote a run that can't be stored again. Others must not wait.
                self._tell(turn.project_id, "a run of it")
                forged.add(turn.project_id)
                ended.append(turn)
                continue
            if run is None:
                continue
            ended.append(turn)
            claimed.append(ClaimedRun.model_construct(**dict(run), lease_token=token))
            room -= len(to_json(run))
            if room <= 0:
                break
        await end_turns(repositories, ended)
        return claimed

    async def _forged_projects(self, repositories: Repositories, turns: Sequence[Turn]) -> set[int]:
        """The projects of these turns that no agent may follow, because they or their
        configurations are not as the record left them."""
        project_ids = list({turn.project_id for turn in turns})
        forged = await self.kit.guard.with_forged_configuration(repositories, project_ids)
        forged.update(await self.kit.guard.forged(repositories, PROJECTS, project_ids))
        for project_id in forged:
            self._tell(project_id, "it or its configuration")
        return forged

    def _tell(self, project_id: int, what: str) -> None:
        if project_id not in self._told:
            self._told.add(project_id)
            logger.error(
                "runs of project %d are not given to workers: %s was changed in the database file "
                "by something other than the service",
                project_id,
                what,
            )

    async def heartbeat(self, run_id: int, beat: RunHeartbeat) -> LeasedRun:
        """The run, its lease extended by the duration that the claim asked for.

        Raises `AgentRunNotFound`, and `LeaseLost` when another lease has the run or the run is
        finished.
        """
        # The lease's end depends on a clock that may be set back before the next tick.
        self.presence.note_if_begun()
        try:
            return await self._extend(run_id, beat)
        except DatabaseError:
            self.presence.note_failure()
            raise

    @unit_of_work
    async def _extend(self, run_id: int, beat: RunHeartbeat) -> LeasedRun:
        async with self.transaction() as repositories:
            run = await writable_run(repositories, run_id, beat.lease_token)
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

    def _lease(self, claim: RunClaim, token: str) -> Lease:
        return Lease(
            worker=claim.worker,
            token_hash=lease_token_hash(token),
            seconds=claim.lease_seconds,
            expires_at=lease_end(self.clock(), claim.lease_seconds),
        )


def _claimable(asked: list[int] | None) -> tuple[int, ...] | None:
    """The projects to claim from: the requested ones that the principal may see; `None` for
    all."""
    principal = current_principal()
    if asked is None:
        return principal.visible_ids
    return tuple(filter(principal.sees, sorted(set(asked))))
