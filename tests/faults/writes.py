"""The requests of the clients: their kinds, paths and bodies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

OWNER = "faults"
"""The owner of all repositories in these tests."""
COMPONENT = "faults"
"""The component of all logs that clients send."""
KEYS = ("ALPHA", "BETA", "GAMMA")
"""The keys of each project's secrets; a write sets all of them to values that contain its mark."""
SECRET_VALUE = b"(?:%s) s{20}" % "|".join(KEYS).encode()
"""Matches values of secrets, and nothing else that is written."""
LOGS = 3
"""The number of logs per write."""


RESULTS = 3
"""The number of test results per write."""


class Kind(StrEnum):
    """The kinds of writes; each changes several rows in one transaction, including its audit
    entry."""

    PROJECT = "project"
    """A new project with settings and secrets."""
    SECRETS = "secrets"
    """New values for all secrets of a project, which belongs to one client."""
    LOGS = "logs"
    """Some logs; only the write's mark distinguishes them from the same logs sent again."""
    RUN = "run"
    """A new run."""
    CLAIM = "claim"
    """A claim of a run, which may find none."""
    TRANSITION = "transition"
    """The end of a run."""
    RESULTS = "results"
    """Some test results for a run."""
    WEBHOOK = "webhook"
    """A new webhook."""
    TOKEN = "token"
    """A new token."""
    REVOCATION = "revocation"
    """The revocation of a token."""
    PURGE = "purge"
    """The purge of a project."""


class Fate(StrEnum):
    """The outcome of a write, as far as the client knows it."""

    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(slots=True)
class Write:
    """A write that a client is about to send, or has sent."""

    number: int
    kind: Kind
    repository: str
    """The repository of the project that it creates or changes; empty for logs and tokens."""
    target: int = 0
    """The id of the changed object, other than the project."""
    of: str = ""
    """The mark of the changed object, when the write leaves no mark of its own."""
    fate: Fate = Fate.UNKNOWN
    status: int | None = None
    """The status of the answer, if there was one."""

    @property
    def mark(self) -> str:
        """The text that marks everything it writes."""
        return f"w{self.number:06d}"

    @property
    def secrets(self) -> dict[str, str]:
        """Its values for secrets."""
        return {key: f"{self.mark} {key} " + "s" * 200 for key in KEYS}

    @property
    def statement(self) -> str:
        """The planning statement of the project that it creates."""
        return f"{self.mark} " + "p" * 1000

    def messages(self) -> list[str]:
        """The messages of the logs that it sends."""
        return [f"{self.mark} {n} " + "m" * 200 for n in range(LOGS)]

    def request(self, project_id: int) -> tuple[str, str, dict[str, Any] | None]:
        """The method, path and body; `project_id` is the project that it changes, if any."""
        if self.kind in _REQUESTS:
            return _REQUESTS[self.kind](self, project_id)
        if self.kind is Kind.LOGS:
            common = {"level": "INFO", "component": COMPONENT, "correlation_id": self.mark}
            logs = [{"message": message, **common} for message in self.messages()]
            return "POST", "/api/logs", {"logs": logs}
        secrets = [{"key": key, "value": value} for key, value in self.secrets.items()]
        if self.kind is Kind.SECRETS:
            return "PUT", f"/api/projects/{project_id}/secrets", {"secrets": secrets}
        return (
            "POST",
            "/api/projects",
            {
                "name": self.mark,
                "github_owner": OWNER,
                "github_repo": self.repository,
                "settings": {"planning_statement": self.statement},
                "secrets": secrets,
            },
        )


Request = tuple[str, str, dict[str, Any] | None]
"""The method, path and body."""


def _run(write: Write, project_id: int) -> Request:
    return "POST", "/api/agent-runs", {"project_id": project_id, "target_text": write.mark}


def _claim(write: Write, project_id: int) -> Request:
    body = {"worker": write.mark, "project_ids": [project_id], "lease_seconds": 3600}
    return "POST", "/api/agent-runs/claim", body


def _transition(write: Write, _: int) -> Request:
    path = f"/api/agent-runs/{write.target}/transitions"
    return "POST", path, {"to": "completed", "result": write.mark}


def _results(write: Write, _: int) -> Request:
    results = [
        {"test_type": "unit", "test_name": f"{write.mark} {n}", "status": "passed"}
        for n in range(RESULTS)
    ]
    path = f"/api/agent-runs/{write.target}/test-results"
    return "POST", path, {"test_results": results}


def _webhook(write: Write, project_id: int) -> Request:
    url = f"https://example.com/{write.mark}"
    body = {
        "webhook_type": "custom",
        "webhook_url": url,
        "secret_token": f"{write.mark} " + "t" * 40,
    }
    return "POST", f"/api/projects/{project_id}/webhooks", body


def _token(write: Write, _: int) -> Request:
    return "POST", "/api/tokens", {"name": write.mark, "scopes": ["projects:read"]}


def _revocation(write: Write, _: int) -> Request:
    return "DELETE", f"/api/tokens/{write.target}", None


def _purge(_: Write, project_id: int) -> Request:
    return "DELETE", f"/api/projects/{project_id}?purge=true", None


_REQUESTS: Mapping[Kind, Callable[[Write, int], Request]] = {
    Kind.RUN: _run,
    Kind.CLAIM: _claim,
    Kind.TRANSITION: _transition,
    Kind.RESULTS: _results,
    Kind.WEBHOOK: _webhook,
    Kind.TOKEN: _token,
    Kind.REVOCATION: _revocation,
    Kind.PURGE: _purge,
}
