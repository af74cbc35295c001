"""Checks before every action on a run: the run exists, and the caller may write to it."""

import hashlib
import hmac
from datetime import datetime, timedelta

from backend.errors import AgentRunNotFound, LeaseLost, ProjectNotFound
from backend.repositories import Repositories
from backend.schemas.runs import DEFAULT_LEASE_SECONDS
from backend.services.principal import current_principal
from database.base import time_text
from models import AgentRun


async def existing_run(repositories: Repositories, run_id: int) -> AgentRun:
    """The run. Raises `AgentRunNotFound`, also when the current principal may not see its
    project."""
    run = await repositories.runs.get_by_id(run_id)
    if run is None or not current_principal().sees(run.project_id):
        raise AgentRunNotFound
    return run


async def changeable_run(repositories: Repositories, run_id: int) -> AgentRun:
    """The run, for a change of it or of what belongs to it. Raises what `existing_run` does, and
    `ProjectNotFound` when its project is deleted."""
    found = await repositories.runs.get_in_project(run_id)
    if found is None or not current_principal().sees(found.run.project_id):
        raise AgentRunNotFound
    if not found.is_live:
        raise ProjectNotFound
    return found.run


async def writable_run(
    repositories: Repositories, run_id: int, lease_token: str | None
) -> AgentRun:
    """The run, for a caller that writes to it or to its results, states and snapshots.

    Without a lease token, every principal that may write runs may write. With a lease token, it
    must be the token of the run's last claim; any other means that another worker has the run.
    Raises what `changeable_run` does, and `LeaseLost`.
    """
    run = await changeable_run(repositories, run_id)
    require_lease(run, lease_token)
    return run


def require_lease(run: AgentRun, lease_token: str | None) -> None:
    """Raises `LeaseLost` unless this is the token of the run's last claim, or `None`."""
    if lease_token is not None and not holds_lease(run, lease_token):
        raise LeaseLost


def holds_lease(run: AgentRun, lease_token: str) -> bool:
    """Whether this is the token of the run's lease. An expired lease counts until the run is taken
    back."""
    known = run.lease_token_hash
    return known is not None and hmac.compare_digest(
        known.encode(), lease_token_hash(lease_token).encode()
    )


def extended_lease(run: AgentRun, now: datetime) -> str | None:
    """When the run's lease expires if it is extended now; `None` when it has no lease."""
    if run.lease_token_hash is None:
        return None
    return lease_end(now, run.lease_seconds)


def lease_end(now: datetime, seconds: int | None) -> str:
    """When a lease of this many seconds expires; `None` means the default duration."""
    return time_text(now + timedelta(seconds=seconds or DEFAULT_LEASE_SECONDS))


def lease_token_hash(lease_token: str) -> str:
    """The stored digest of a lease token. A plain digest is enough, because tokens are random."""
    return hashlib.sha256(lease_token.encode("utf-8", "surrogatepass")).hexdigest()
