"""The routes by resource; each calls one method of the service."""

from typing import Final

from backend.http.guarded_route import GuardedRouter
from backend.http.route_policy import Policies
from backend.routes import (
    agent_runs,
    audit,
    backups,
    deliveries,
    keys,
    logs,
    pipeline_states,
    projects,
    retention,
    secrets,
    snapshots,
    system,
    test_results,
    tokens,
    webhooks,
)

ROUTERS: Final[tuple[GuardedRouter, ...]] = (
    projects.router,
    agent_runs.router,
    secrets.router,
    logs.router,
    pipeline_states.router,
    test_results.router,
    snapshots.router,
    deliveries.router,
    webhooks.router,
    system.router,
    tokens.router,
    audit.router,
    keys.router,
    backups.router,
    retention.router,
)
"""All routers, in the order in which paths are matched."""

POLICIES: Final[Policies] = {
    key: policy for router in ROUTERS for key, policy in router.policies.items()
}
"""The policy of every route."""
