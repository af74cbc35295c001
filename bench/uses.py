"""The other use cases that write: what they cost against a create, and many rows in a request."""

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import loads, wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS, USE_CASES
from bench.options import Options
from bench.processes import BenchError, Server
from bench.results import Results
from bench.workloads import PROJECTS

AGENTS = 200
"""Runs that are leased before the first load, whose workers send heartbeats and pipeline states."""
MOST_PER_SECOND = 10_000
"""Runs are prepared for this rate of claims, and of transitions."""
LEASE_SECONDS = 3600
"""Longer than the measurement, so that no lease expires in it."""
CLAIMED = 100
"""Runs of one claim when the agents are made."""

FIGURES = loads.names([f"uses.{name}" for name in ("create", *USE_CASES)])

_COLUMNS = (
    "project_id, target_text, run_type, auto_merge_enabled, metadata, settings_version, created_at,"
    " updated_at"
)
# The numbers continue after each project's last run; all is as if the API had created the runs.
_RUNS = (
    "WITH RECURSIVE numbers (n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :each)"
    f" INSERT INTO agent_runs ({_COLUMNS}, run_number, status, started_at)"
    f" SELECT {_COLUMNS}, run_number + n, :status, iif(:status = 'pending', NULL, created_at)"
    " FROM agent_runs, numbers WHERE id BETWEEN :first AND :last ORDER BY n, id"
)
_QUEUES = (
    "UPDATE run_queues SET last_run_number ="
    " (SELECT max(run_number) FROM agent_runs WHERE project_id = run_queues.project_id)"
)


@dataclass(slots=True)
class Prepared:
    """What the loads need, in the order in which they use it up."""

    token: str
    next_running: int
    """The first run that is running and was not completed yet."""
    last_running: int
    webhook_id: int
    signature: str
    folder: Path

    def requests(self, name: str) -> wrk.Requests:
        """The requests of a use case."""
        if name == "create":
            return wrk.Requests("create", self.token, PROJECTS)
        if name == "transition":
            return wrk.Requests("transition", self.token, first=self.next_running)
        if name == "delivery":
            return wrk.Requests(
                "delivery",
                path=f"/api/webhooks/{self.webhook_id}/deliveries/github",
                lines=self.folder / "payload.json",
                signature=self.signature,
            )
        return wrk.Requests("lines", self.token, lines=self.folder / f"{name}.lines")


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure each use case and a create in turns. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    seconds = options.few_rounds * (max(1.0, options.seconds) + max(1.0, options.warm_up))
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            seed(client)
            for number in range(1, PROJECTS + 1):
                client.require("POST", "/api/agent-runs", _run(number))
    running = _insert_runs(data_dir / "strongroom.db", round(seconds * MOST_PER_SECOND))
    with strongroom.running(data_dir) as server:
        with Client(server.port, token) as client:
            prepared = _prepare(client, token, running, folder)
        for _ in range(options.few_rounds):
            for name in ("create", *USE_CASES):
                _load(name, server, prepared, options, results)
        with Client(server.port, token) as client:
            left = client.require("GET", "/api/agent-runs?status=pending&limit=1")
    if not left["agent_runs"]:
        # A claim without a run is answered 204, which is no error and much faster.
        raise BenchError("there are too few pending runs for all claims")


def _run(project_id: int) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "target_text": "Fix the build of the deployment, and add a test that would have found it.",
        "metadata": {"ticket": "OPS-1234", "priority": 2},
    }


def _insert_runs(database: Path, count: int) -> range:
    """Add this many pending runs and as many running ones to those of a stopped server. Returns
    the ids of the running ones."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        each = count // PROJECTS + 1
        connection.execute("PRAGMA cache_size = -262144")
        connection.execute("BEGIN IMMEDIATE")
        first, last = connection.execute("SELECT min(id), max(id) FROM agent_runs").fetchone()
        span = {"first": first, "last": last}
        connection.execute(_RUNS, {**span, "each": each, "status": "pending"})
        (pending,) = connection.execute("SELECT max(id) FROM agent_runs").fetchone()
        # After the numbers of the pending ones.
        span = {"first": pending - PROJECTS + 1, "last": pending}
        connection.execute(_RUNS, {**span, "each": each, "status": "running"})
        (running,) = connection.execute("SELECT max(id) FROM agent_runs").fetchone()
        connection.execute(_QUEUES)
        connection.execute("COMMIT")
        return range(pending + 1, running + 1)
    finally:
        connection.close()


def _prepare(client: Client, token: str, running: range, folder: Path) -> Prepared:
    """Write the files of all loads."""
    agents: list[dict[str, Any]] = []
    while len(agents) < AGENTS:
        body = {"worker": "bench", "lease_seconds": LEASE_SECONDS, "count": CLAIMED}
        agents += client.require("POST", "/api/agent-runs/claim", body)["agent_runs"]
    states = ("agent_running", "pr_created", "deployment_running", "testing")
    _write(folder, "run", (("/api/agent-runs", _run(n)) for n in range(1, PROJECTS + 1)))
    claim = {"worker": "bench", "lease_seconds": LEASE_SECONDS}
    _write(folder, "claim", [("/api/agent-runs/claim", claim)])
    beats = ((_of(run, "heartbeat"), {"lease_token": run["lease_token"]}) for run in agents)
    _write(folder, "heartbeat", beats)
    reached = (
        (
            _of(run, "pipeline-states"),
            {
                "state": state,
                "metadata": {"suite": "e2e", "step": 3},
                "lease_token": run["lease_token"],
            },
        )
        for state in states
        for run in agents
    )
    _write(folder, "pipeline", reached)
    key = secrets.token_hex(20)
    hook = {
        "webhook_type": "github_push",
        "webhook_url": "https://hooks.example.com/github",
        "events": ["push"],
        "secret_token": key,
    }
    webhook_id = client.require("POST", "/api/projects/1/webhooks", hook)["id"]
    payload = json.dumps(_push()).encode()
    (folder / "payload.json").write_bytes(payload)
    signature = f"sha256={hmac.new(key.encode(), payload, hashlib.sha256).hexdigest()}"
    return Prepared(token, running.start, running.stop - 1, webhook_id, signature, folder)


def _of(run: dict[str, Any], what: str) -> str:
    return f"/api/agent-runs/{run['id']}/{what}"


def _write(folder: Path, name: str, requests: Iterable[tuple[str, dict[str, Any]]]) -> None:
    lines = (f"POST\t{path}\t{json.dumps(body)}\n" for path, body in requests)
    (folder / f"{name}.lines").write_text("".join(lines), "utf-8")


def _push() -> dict[str, Any]:
    """A payload of the size that GitHub sends for a push of five commits: 6 KB."""
    person = {"name": "A. Person", "email": "person@example.com", "username": "person"}
    links = {
        f"{name}_url": f"https://api.example.com/repos/acme/payments/{name}" for name in _LINKS
    }
    commits = [
        {
            "id": f"{number:040x}",
            "message": "Keep the change small, and say why it is needed.",
            "timestamp": "2026-01-31T12:00:00Z",
            "url": f"https://github.com/acme/payments/commit/{number:040x}",
            "author": person,
            "committer": person,
            "added": [],
            "modified": ["payments/ledger.py", "tests/test_ledger.py"],
        }
        for number in range(5)
    ]
    repository = {"id": 1, "name": "payments", "full_name": "acme/payments", **links}
    return {
        "ref": "refs/heads/main",
        "before": "0" * 40,
        "after": "1" * 40,
        "repository": repository,
        "pusher": person,
        "commits": commits,
        "head_commit": commits[-1],
    }


_LINKS = (
    *("forks", "keys", "collaborators", "teams", "hooks", "issue_events", "events", "assignees"),
    *("branches", "tags", "blobs", "git_tags", "git_refs", "trees", "statuses", "languages"),
    *("stargazers", "contributors", "subscribers", "subscription", "commits", "git_commits"),
    *("comments", "issue_comment", "contents", "compare", "merges", "archive", "downloads"),
    *("issues", "pulls", "milestones", "notifications", "labels", "releases", "deployments"),
)


def _load(
    name: str, server: Server, prepared: Prepared, options: Options, results: Results
) -> None:
    """Warm up and measure one use case. Raises `BenchError` when the prepared runs are used up."""
    loads_in_turn = [(False, options.warm_up)] if options.warm_up else []
    for counts, seconds in [*loads_in_turn, (True, options.seconds)]:
        requests = prepared.requests(name)
        measured = loads.measure(server, requests, connections=CONNECTIONS, seconds=seconds)
        if counts:
            loads.note(f"uses.{name}", measured, results)
        if name == "transition":
            # The threads may have come differently far, and requests were under way at the end.
            threads = wrk.threads_for(CONNECTIONS)
            spread = 1.0 if threads == 1 else 1.5
            prepared.next_running += round(measured.load.requests * spread) + 2 * CONNECTIONS
            if prepared.next_running > prepared.last_running:
                raise BenchError("there are too few running runs for all transitions")
