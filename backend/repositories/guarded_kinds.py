"""The kinds of rows that are guarded."""

import re
from dataclasses import dataclass


# Compared by identity, because several are looked up for each batch.
@dataclass(frozen=True, slots=True, eq=False)
class GuardedKind:
    """A table whose rows are guarded."""

    name: str
    """The word for a row in messages."""
    table: str
    target: str
    """The SQL expression for the target of a row's entries in the record."""
    targets: re.Pattern[str]
    """The form of these targets. Its groups are the values of `found_by`."""
    found_by: tuple[str, ...]
    """The columns that the target is made of."""
    columns: tuple[str, ...]
    """The SQL expressions that a digest covers, in their order."""
    unguarded: frozenset[str]
    """The columns that a digest leaves out: they change without an entry, or are computed from
    others."""
    in_project: bool = True
    """Whether a row belongs to a project and goes with it."""
    later: int = 0
    """How many of the columns, at their end, came with a later version. A digest leaves them out
    while they are null, so that rows from before still fit theirs."""


TOKENS = GuardedKind(
    "token",
    "api_tokens",
    "'tokens/' || CAST(id AS TEXT)",
    re.compile(r"tokens/(\d+)"),
    ("id",),
    ("id", "name", "mac", "scopes", "project_ids", "created_at", "expires_at", "revoked_at"),
    frozenset({"last_used_at"}),
    in_project=False,
)
SESSIONS = GuardedKind(
    "session",
    "sessions",
    "'sessions/' || CAST(id AS TEXT)",
    re.compile(r"sessions/(\d+)"),
    ("id",),
    ("id", "token_id", "mac", "created_at", "expires_at"),
    frozenset(),
    in_project=False,
)
PROJECTS = GuardedKind(
    "project",
    "projects",
    "'projects/' || CAST(id AS TEXT)",
    re.compile(r"projects/(\d+)"),
    ("id",),
    (
        "id",
        "name",
        "github_owner",
        "github_repo",
        "status",
        "webhook_url",
        "auto_merge_enabled",
        "auto_confirm_plans",
        "created_at",
        "updated_at",
        "version",
    ),
    frozenset({"name_key", "owner_key", "repo_key", "search_text", "twin"}),
    in_project=False,
)
CONFIGURATIONS = GuardedKind(
    "configuration",
    "project_settings",
    "'projects/' || CAST(project_id AS TEXT) || '/configuration'",
    re.compile(r"projects/(\d+)/configuration"),
    ("project_id",),
    (
        "id",
        "project_id",
        "planning_statement",
        "repository_rules",
        "setup_commands",
        "branch_name",
        "created_at",
        "updated_at",
        "version",
        "actor",
        "fields",
    ),
    frozenset(),
    later=2,
)
SECRETS = GuardedKind(
    "secret",
    "project_secrets",
    "'projects/' || CAST(project_id AS TEXT) || '/secrets/' || key_name",
    re.compile(r"projects/(\d+)/secrets/(.+)", re.DOTALL),
    ("project_id", "key_name"),
    (
        "id",
        "project_id",
        "project_key_id",
        "key_name",
        "ciphertext",
        "created_at",
        "updated_at",
        "version",
        "actor",
        "redact",
    ),
    frozenset(),
    later=2,
)
WEBHOOKS = GuardedKind(
    "webhook",
    "webhooks",
    "'webhooks/' || CAST(id AS TEXT)",
    re.compile(r"webhooks/(\d+)"),
    ("id",),
    (
        "id",
        "project_id",
        "webhook_type",
        "webhook_url",
        "events",
        "is_active",
        "secret_ciphertext",
        "project_key_id",
        "secret_version",
        "created_at",
        "updated_at",
        "version",
    ),
    frozenset({"last_triggered_at"}),
)
GUARDED_KINDS = (TOKENS, SESSIONS, PROJECTS, CONFIGURATIONS, SECRETS, WEBHOOKS)
"""All kinds; projects stand before what belongs to them."""
