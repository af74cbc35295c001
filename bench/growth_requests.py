"""The requests of the section `growth`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from bench.client import Client
from bench.depth import spelt
from bench.growth_fill import WORKERS, run_projects
from bench.growth_kinds import DEEP_PAGE
from bench.search import words

FEW = 1_000
"""The rows of each kind in the smaller installation."""
Make = Callable[[int], tuple[str, str, Any]]
"""Makes the method, path and body of the request with this number."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One of the two installations."""

    size: str
    data_dir: Path
    projects: int
    runs: int
    logs: int

    @property
    def run_projects(self) -> int:
        """The projects that have runs, with ids from 1."""
        return run_projects(self.projects, self.runs)

    @property
    def database(self) -> Path:
        """Its file."""
        return self.data_dir / "strongroom.db"


def requests_of(one: Installation, port: int, token: str) -> dict[str, Make]:
    """The requests of each kind. No two are the same, so that no answer is a kept one."""
    chance = Random(7)  # noqa: S311
    all_words = words()
    with Client(port, token) as client:
        projects = _deep(client, "/api/projects", "projects", one.projects)
        runs = _deep(client, "/api/agent-runs", "agent_runs", one.runs)
        middle = client.require("GET", f"/api/agent-runs/{one.runs // 2}")["created_at"]

    def get(path: Callable[[], str]) -> Make:
        def make(number: int) -> tuple[str, str, Any]:
            text = path()
            mark = "&" if "?" in text else "?"
            resource = text.split("/")[2].split("?")[0]
            text = text.replace(resource, spelt(resource, number // 32), 1)
            return "GET", f"{text}{mark}{spelt('limit', number)}=50", None

        return make

    def listed(path: str) -> Make:
        return get(lambda: path)

    def searched(resource: str, text: Callable[[], str], more: str = "") -> Make:
        return get(lambda: f"/api/{resource}?q={quote(text())}{more}")

    def project() -> int:
        return chance.randint(1, one.projects)

    def by_repo(number: int) -> tuple[str, str, Any]:
        owner, repo = chance.choice(repositories)
        return "GET", f"/api/projects/by-repo/{_cased(owner, number)}/{_cased(repo, number)}", None

    with Client(port, token) as client:
        repositories = [
            (found["github_owner"], found["github_repo"])
            for id in Random(8).sample(range(1, one.projects + 1), 500)  # noqa: S311
            for found in [client.require("GET", f"/api/projects/{id}")]
        ]
    return {
        "create": lambda n: ("POST", "/api/projects", _project(n, one.size)),
        "create-run": lambda n: (
            "POST",
            "/api/agent-runs",
            {"project_id": n % FEW + 1, "target_text": f"Fix the {chance.choice(all_words)}"},
        ),
        "read": lambda n: ("GET", f"/api/projects/{_digits(project(), n)}", None),
        "by-repo": by_repo,
        "read-run": lambda _: ("GET", f"/api/agent-runs/{chance.randint(1, one.runs)}", None),
        "projects": listed("/api/projects"),
        "projects-deep": listed(f"/api/projects?cursor={projects}"),
        "projects-owner": get(
            lambda: f"/api/projects?sort=name&owner={all_words[chance.randrange(100)]}-team"
        ),
        "runs": listed("/api/agent-runs"),
        "runs-deep": listed(f"/api/agent-runs?cursor={runs}"),
        "runs-project": get(
            lambda: f"/api/projects/{chance.randint(1, one.run_projects)}/agent-runs"
        ),
        "runs-status": listed("/api/agent-runs?sort=-updated_at&status=completed&status=failed"),
        "runs-worker": get(lambda: f"/api/agent-runs?worker=worker-{chance.randrange(WORKERS)}"),
        "runs-time": listed(f"/api/agent-runs?since={middle}&until={middle}"),
        "logs": listed("/api/logs"),
        "claim": lambda n: ("POST", "/api/agent-runs/claim", {"worker": f"w{n % 10}"}),
        "search-rare": searched(
            "projects", lambda: str(chance.randint(one.projects // 10, one.projects))
        ),
        "search-word": searched("projects", lambda: chance.choice(all_words)),
        "search-common": searched("projects", lambda: "-team"),
        "search-absent": searched("projects", lambda: f"zz{chance.choice(all_words)}"),
        "search-two": searched("projects", lambda: chance.choice(all_words)[:2]),
        "search-runs-rare": searched(
            "agent-runs", lambda: f"step {chance.randint(one.runs // 10, one.runs)}"
        ),
        "search-runs-word": searched("agent-runs", lambda: chance.choice(all_words)),
        "search-runs-common": searched("agent-runs", lambda: "in step"),
        "search-runs-absent": searched("agent-runs", lambda: f"zz{chance.choice(all_words)}"),
        "search-runs-two": searched("agent-runs", lambda: chance.choice(all_words)[:2]),
        "search-runs-updated": searched(
            "agent-runs", lambda: chance.choice(all_words), "&sort=-updated_at"
        ),
    }


def _project(number: int, size: str) -> dict[str, Any]:
    return {
        "name": f"Project {number}",
        "github_owner": "bench",
        "github_repo": f"{size}-{number}",
        "settings": {"branch_name": "main"},
        "secrets": [{"key": "API_KEY", "value": "a made-up value of an ordinary length"}],
    }


def _deep(client: Client, path: str, name: str, rows: int) -> str:
    """The cursor of a deep page; in a short list that of its last full one."""
    cursor, limit = "", 50
    for _ in range(min(DEEP_PAGE, rows // limit - 1) - 1):
        page = client.require("GET", f"{path}?limit={limit}{cursor and '&cursor='}{cursor}")
        assert page[name]  # noqa: S101 - the list is long enough
        cursor = page["next_cursor"]
    return cursor


def _digits(id: int, number: int) -> str:
    """The id, some of whose digits are percent-encoded."""
    return spelt(str(id), number)


def _cased(name: str, number: int) -> str:
    """The name, some of whose letters are capitals."""
    return "".join(
        letter.upper() if number >> place & 1 else letter for place, letter in enumerate(name)
    )
