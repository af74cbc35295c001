"""Which scope each route needs: one table, checked in one place before a body is read."""

from typing import Final

OPEN: Final = None
"""Needs no token."""

ROUTE_SCOPES: Final[dict[tuple[str, str], str | None]] = {
    ("GET", "/"): OPEN,
    ("GET", "/health"): OPEN,
    ("GET", "/ready"): OPEN,
    # Open on loopback outside production, which the application decides when it is made.
    ("GET", "/metrics"): "admin",
    ("GET", "/api/projects"): "projects:read",
    ("POST", "/api/projects"): "projects:write",
    ("GET", "/api/projects/{project_id}"): "projects:read",
    ("GET", "/api/projects/by-repo/{owner}/{repo}"): "projects:read",
    ("PUT", "/api/projects/{project_id}"): "projects:write",
    ("PATCH", "/api/projects/{project_id}"): "projects:write",
    ("DELETE", "/api/projects/{project_id}"): "projects:write",
    ("POST", "/api/projects/{project_id}/restore"): "projects:write",
    ("GET", "/api/projects/{project_id}/configuration"): "projects:read",
    ("PUT", "/api/projects/{project_id}/configuration"): "projects:write",
    ("PATCH", "/api/projects/{project_id}/configuration"): "projects:write",
    ("GET", "/api/projects/{project_id}/full"): "projects:read",
    ("GET", "/api/projects/{project_id}/secrets"): "projects:read",
    ("POST", "/api/projects/{project_id}/secrets"): "secrets:write",
    ("PUT", "/api/projects/{project_id}/secrets"): "secrets:write",
    ("GET", "/api/projects/{project_id}/secrets/{key}"): "projects:read",
    ("PUT", "/api/projects/{project_id}/secrets/{key}"): "secrets:write",
    ("DELETE", "/api/projects/{project_id}/secrets/{key}"): "secrets:write",
    ("GET", "/api/projects/{project_id}/secrets/{key}/value"): "secrets:reveal",
    ("GET", "/api/agent-runs/{run_id}/test-results"): "runs:read",
    ("POST", "/api/agent-runs/{run_id}/test-results"): "runs:write",
    ("GET", "/api/projects/{project_id}/test-history"): "runs:read",
    ("GET", "/api/agent-runs/{run_id}/snapshots"): "runs:read",
    ("POST", "/api/agent-runs/{run_id}/snapshots"): "runs:write",
    ("GET", "/api/snapshots/{snapshot_id}"): "runs:read",
    ("PATCH", "/api/snapshots/{snapshot_id}"): "runs:write",
    ("GET", "/api/projects/{project_id}/webhooks"): "projects:read",
    ("POST", "/api/projects/{project_id}/webhooks"): "projects:write",
    ("GET", "/api/webhooks/{webhook_id}"): "projects:read",
    ("PATCH", "/api/webhooks/{webhook_id}"): "projects:write",
    ("DELETE", "/api/webhooks/{webhook_id}"): "projects:write",
    ("GET", "/api/webhooks/{webhook_id}/deliveries"): "projects:read",
    ("GET", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}"): "projects:read",
    # No token, but a signature, without which nothing is taken.
    ("POST", "/api/webhooks/{webhook_id}/deliveries/github"): OPEN,
    ("GET", "/api/agent-runs"): "runs:read",
    ("POST", "/api/agent-runs"): "runs:write",
    ("POST", "/api/agent-runs/claim"): "runs:write",
    ("GET", "/api/agent-runs/{run_id}"): "runs:read",
    ("PATCH", "/api/agent-runs/{run_id}"): "runs:write",
    ("POST", "/api/agent-runs/{run_id}/transitions"): "runs:write",
    ("POST", "/api/agent-runs/{run_id}/cancel"): "runs:write",
    ("POST", "/api/agent-runs/{run_id}/heartbeat"): "runs:write",
    ("GET", "/api/agent-runs/{run_id}/pipeline-states"): "runs:read",
    ("POST", "/api/agent-runs/{run_id}/pipeline-states"): "runs:write",
    ("GET", "/api/logs"): "logs:read",
    ("POST", "/api/logs"): "logs:write",
    ("GET", "/api/retention"): "admin",
    ("POST", "/api/retention/prune"): "admin",
    # Tokens, the audit, keys: about the whole installation.
    ("GET", "/api/audit"): "audit:read",
    ("GET", "/api/audit/export"): "audit:read",
    ("GET", "/api/backups"): "admin",
    ("POST", "/api/backups"): "admin",
    ("GET", "/api/keys"): "admin",
    ("POST", "/api/keys/rotate"): "admin",
    ("GET", "/api/tokens"): "admin",
    ("POST", "/api/tokens"): "admin",
    ("GET", "/api/tokens/{token_id}"): "admin",
    ("DELETE", "/api/tokens/{token_id}"): "admin",
}
"""The scope of every route by method and path template."""

ANY_QUERY: Final = frozenset({("GET", "/health"), ("GET", "/ready")})
"""The routes that ignore their query, as probes add to it what they like."""

BODY_LIMITS: Final[dict[tuple[str, str], int]] = {
    # What GitHub sends at most.
    ("POST", "/api/webhooks/{webhook_id}/deliveries/github"): 25 * 1024 * 1024,
}
"""The routes that take larger bodies than the others, and how many bytes."""
