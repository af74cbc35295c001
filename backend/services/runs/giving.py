"""The steps of a claim: whose turn it is, which projects are genuine, and the leases."""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.repositories import Repositories
from backend.repositories.agent_run_repository import Lease
from backend.repositories.guarded_kinds import PROJECTS
from backend.repositories.paging import MAX_PAGE_BYTES, json_members, shown_json
from backend.schemas.runs import ClaimedRun, RunClaim
from backend.services.base import Kit
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent
from backend.services.runs.access import lease_end, lease_token_hash
from backend.services.runs.turns import Turn, end_turns, next_turns
from database.errors import CheckViolation

Projects = tuple[int, ...] | None
"""The projects to claim from; `None` for all."""

_MEMBERS = json_members(ClaimedRun)
logger = logging.getLogger("strongroom.leases")


@dataclass(frozen=True, slots=True)
class GivenRun:
    """A run that was given to a worker."""

    json: bytes = field(repr=False)
    """The JSON of a `ClaimedRun`, with the lease token."""
    event: AuditEvent
    """What has to be recorded."""


class Giving:
    """Gives pending runs to workers, inside their transactions."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._told: set[int] = set()
        """Projects whose forgery, or that of their configuration, was logged."""

    async def give(
        self, repositories: Repositories, claim: RunClaim, projects: Projects
    ) -> list[GivenRun]:
        """The runs that one claim gets, which may be none. Their events have to be recorded."""
        passed_over: set[int] = set()
        while True:
            turns = await next_turns(repositories, projects, claim.count or 1)
            forged = await self._forged_projects(repositories, turns)
            given = await self._give_turns(repositories, claim, turns, forged)
            if given or forged <= passed_over:
                return given
            # Their turns have ended, so other projects come next.
            passed_over |= forged

    async def give_each(
        self, repositories: Repositories, claims: Sequence[RunClaim], projects: Projects
    ) -> list[GivenRun]:
        """The runs that these claims of one run get, in their order: as many as are pending. None,
        without a change, if a run or a project is not as the service left it."""
        turns = await next_turns(repositories, projects, len(claims))
        if not turns or await self._forged_projects(repositories, turns):
            return []
        tokens = [secrets.token_urlsafe(32) for _ in turns]
        leases = {
            turn.run_id: self._lease(claim, token)
            for claim, turn, token in zip(claims, turns, tokens, strict=False)
        }
        try:
            rows = await repositories.runs.claim(leases)
        except CheckViolation:
            return []
        stored = {row["id"]: row for row in rows}
        await end_turns(repositories, turns)
        return [
            _given(stored[turn.run_id], token) for turn, token in zip(turns, tokens, strict=True)
        ]

    async def _give_turns(
        self,
        repositories: Repositories,
        claim: RunClaim,
        turns: Sequence[Turn],
        forged: set[int],
    ) -> list[GivenRun]:
        """Claim the runs of these turns, but not of the projects in `forged`, and end the turns.
        Adds projects whose next run can't be claimed to `forged`."""
        given, ended = [], []
        room = MAX_PAGE_BYTES
        for turn in turns:
            if turn.project_id in forged:
                ended.append(turn)
                continue
            token = secrets.token_urlsafe(32)
            try:
                rows = await repositories.runs.claim({turn.run_id: self._lease(claim, token)})
            except CheckViolation:
                # Another program wrote a run that can't be stored again. Others must not wait.
                self._tell(turn.project_id, "a run of it")
                forged.add(turn.project_id)
                ended.append(turn)
                continue
            if not rows:
                continue
            ended.append(turn)
            given.append(_given(rows[0], token))
            room -= len(given[-1].json)
            if room <= 0:
                break
        await end_turns(repositories, ended)
        return given

    async def _forged_projects(self, repositories: Repositories, turns: Sequence[Turn]) -> set[int]:
        """The projects of these turns that no agent may follow, because they or their
        configurations are not as the record left them."""
        project_ids = list({turn.project_id for turn in turns})
        forged = await self._kit.guard.with_forged_configuration(repositories, project_ids)
        forged.update(await self._kit.guard.forged(repositories, PROJECTS, project_ids))
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

    def _lease(self, claim: RunClaim, token: str) -> Lease:
        return Lease(
            worker=claim.worker,
            token_hash=lease_token_hash(token),
            seconds=claim.lease_seconds,
            expires_at=lease_end(self._kit.now(), claim.lease_seconds),
        )


def _given(row: dict[str, Any], token: str) -> GivenRun:
    event = AuditEvent(
        Kind.AGENT_RUN_CLAIMED,
        f"agent_runs/{row['id']}",
        row["project_id"],
        ("status",),
        row["version"],
    )
    return GivenRun(shown_json({**row, "lease_token": token}, _MEMBERS, ClaimedRun), event)
