"""The routes by resource; each calls one method of the service."""

from typing import Final

from backend.http.guarded_route import GuardedRouter
from backend.http.route_policy import Policies
from backend.routes import (
    agent_runs,
    audit,
    backups,
    configuration_versions,
    deliveries,
    events,
    keys,
    logs,
    messages,
    pipeline_states,
    projects,
    retention,
    secret_files,
    secret_versions,
    secrets,
    sessions,
    snapshots,
    system,
    test_results,
    tokens,
    webhooks,
)

ROUTERS: Final[tuple[GuardedRouter, ...]] = (
    projects.router,
    agent_runs.router,
    agent_runs.in_projects,
    secrets.router,
    secret_files.router,
    secret_versions.router,
    configuration_versions.router,
    logs.router,
    events.router,
    pipeline_states.router,
    messages.router,
    test_results.router,
    snapshots.router,
    deliveries.router,
    webhooks.router,
    system.router,
    tokens.router,
    sessions.router,
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

TAGS: Final[dict[str, str]] = {router.tag: router.about for router in ROUTERS if router.about}
"""What the routes of each tag are about."""
