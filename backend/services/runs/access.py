"""The first steps of everything that is done with a run: is it there, and may it be written."""

import hashlib
import hmac
from datetime import datetime, timedelta

from backend.errors import AgentRunNotFound, LeaseLost
from backend.repositories import Repositories
from backend.schemas.runs import DEFAULT_LEASE_SECONDS
from backend.services.principal import current_principal
from database.base import time_text
from models import AgentRun


async def existing_run(repositories: Repositories, run_id: int) -> AgentRun:
    """The run. Raises `AgentRunNotFound`, also for one whose project the current principal may not
    see."""
    run = await repositories.runs.get_by_id(run_id)
    if run is None or not current_principal().sees(run.project_id):
        raise AgentRunNotFound
    return run


async def writable_run(
    repositories: Repositories, run_id: int, lease_token: str | None
) -> AgentRun:
    """The run, for who writes to it or to what belongs to it.

    Without a lease token whoever may write to runs does. A token says who writes as a worker: it
    has to be the one of the run's last claim, else the worker works on what was given to another.
    Raises `AgentRunNotFound` and `LeaseLost`.
    """
    run = await existing_run(repositories, run_id)
    if lease_token is not None and not holds_lease(run, lease_token):
        raise LeaseLost
    return run


def holds_lease(run: AgentRun, lease_token: str) -> bool:
    """Whether this is the token of the run's present lease, even if its time is over: it counts
    until the run is taken back."""
    known = run.lease_token_hash
    return known is not None and hmac.compare_digest(known, lease_token_hash(lease_token))


def extended_lease(run: AgentRun, now: datetime) -> str | None:
    """Until when the run's lease lasts if it is extended now; `None` when it has none."""
    if run.lease_token_hash is None:
        return None
    return lease_end(now, run.lease_seconds)


def lease_end(now: datetime, seconds: int | None) -> str:
    """Until when a lease of so many seconds lasts; `None` is the usual number."""
    return time_text(now + timedelta(seconds=seconds or DEFAULT_LEASE_SECONDS))


def lease_token_hash(lease_token: str) -> str:
    """What is stored of a lease token: it is random, so a plain digest can't be turned back."""
    return hashlib.sha256(lease_token.encode("utf-8", "surrogatepass")).hexdigest()
