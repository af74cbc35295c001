"""The workloads, which are measured on every server that supports them."""

from dataclasses import dataclass
from typing import Any

PROJECTS = 200
"""The number of projects before the first load, each with settings and eleven secrets."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One load."""

    name: str
    title: str
    script: str
    """The function of the wrk script that generates its requests."""
    probe: tuple[str, str, Any]
    """Method, path and body of one such request. A server that answers 404 or 405 lacks it."""
    beside_query: bool = False
    """Whether queries of half a second run during the load."""
    is_operation: bool = True
    """Whether its P95 affects the exit status, because it is an ordinary load."""
    only_connections: tuple[int, ...] = ()
    """The only numbers of connections that it is measured with; empty for all."""


_READ = ("GET", "/api/projects/1", None)
_SECRETS = [{"key": f"SECRET_{n}", "value": f"made up, number {n}"} for n in range(1, 11)]


def project_body(number: int) -> dict[str, Any]:
    """A new project with settings and one secret."""
    return {
        "name": f"Project {number}",
        "github_owner": "bench",
        "github_repo": f"project-{number}",
        "webhook_url": f"https://hooks.example.com/projects/{number}",
        "auto_merge_enabled": True,
        "settings": {
            "planning_statement": "Plan before coding, and keep every change small.",
            "repository_rules": "Tests first. No new dependency without a reason.",
            "setup_commands": "npm ci && npm run build",
            "branch_name": "main",
        },
        "secrets": [{"key": "API_KEY", "value": "a made-up value of an ordinary length"}],
    }


SECRETS_BODY = {"secrets": _SECRETS}
LOG_BODY = {"level": "INFO", "message": "a step is done", "component": "deployer"}

WORKLOADS = (
    Workload("read", "read one project", "read", _READ),
    Workload("full", "full configuration", "full", ("GET", "/api/projects/1/full", None)),
    Workload("list", "list of 50", "list", ("GET", "/api/projects?limit=50", None)),
    Workload(
        "create",
        "create project, settings, secret",
        "create",
        ("POST", "/api/projects", project_body(0)),
    ),
    Workload(
        "upsert", "upsert ten secrets", "upsert", ("PUT", "/api/projects/1/secrets", SECRETS_BODY)
    ),
    Workload("log", "append a log", "log", ("POST", "/api/logs", LOG_BODY)),
    Workload("mix", "90 % reads, 10 % creates", "mix", _READ),
    Workload(
        "read-beside",
        "reads beside a 500 ms query",
        "read",
        ("GET", "/bench/slow?size=1", None),
        beside_query=True,
        is_operation=False,
        only_connections=(64,),
    ),
    Workload(
        "mix-beside",
        "the mix beside a 500 ms query",
        "mix",
        ("GET", "/bench/slow?size=1", None),
        beside_query=True,
        is_operation=False,
        only_connections=(64,),
    ),
)

BY_NAME = {workload.name: workload for workload in WORKLOADS}
