"""Lists of runs: the cost of a page deep inside the list, and in a large table."""

import sqlite3
from pathlib import Path

from bench import wrk
from bench.client import Client
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.processes import BenchError, Server
from bench.results import Results

MANY = 1_000_000
FEW = 1_000
DEEP_PAGE = 1_000
PAGE = 50
FIELDS = ("per_second", "p50", "p95", "p99")
PAGES = (
    *("million.page1", "million.page1000", "thousand.page1"),
    *("million.projects", "thousand.projects"),
)
FIGURES = tuple(f"depth.{page}.{field}" for page in PAGES for field in FIELDS)
OWNERS = 100
"""The number of projects that the runs are distributed over."""

_PATH = f"/api/agent-runs?limit={PAGE}"
_AT = "strftime('%Y-%m-%dT%H:%M:%S', 1700000000 + n, 'unixepoch') || '.000000Z'"
_PROJECTS = (
    "WITH RECURSIVE numbers (n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :projects)"
    " INSERT INTO projects (name, github_owner, github_repo, name_key, owner_key, repo_key,"
    " search_text, auto_merge_enabled, auto_confirm_plans, created_at, updated_at)"
    " SELECT 'p' || n, 'bench', 'p' || n, 'p' || n, 'bench', 'p' || n,"
    f" 'p' || n || char(10) || 'bench' || char(10) || 'p' || n, 0, 0, {_AT}, {_AT} FROM numbers"
)
_RUNS = (
    "WITH RECURSIVE numbers (n) AS"
    " (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :runs - 1)"
    " INSERT INTO agent_runs (project_id, run_number, target_text, status, created_at, updated_at,"
    " started_at, completed_at)"
    " SELECT n % :projects + 1, n / :projects + 1, 'Fix the build of step ' || n, 'completed',"
    f" {_AT}, {_AT}, {_AT}, {_AT} FROM numbers"
)
_QUEUES = (
    "INSERT INTO run_queues (project_id, last_run_number)"
    " SELECT id, :runs / :projects + (id <= :runs % :projects) FROM projects"
)
_SPELLINGS = 12
"""Letters of a path that are spelt in two ways, so that there are more paths than kept answers."""


def insert_projects(connection: sqlite3.Connection, projects: int) -> None:
    """Insert this many projects into a new installation's file, with ids from 1."""
    connection.execute(_PROJECTS, {"projects": projects})


def fill(database: Path, runs: int) -> None:
    """Insert this many completed runs into a new installation's file, which must not be open."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        projects = min(OWNERS, runs)
        connection.execute("PRAGMA cache_size = -262144")
        connection.execute("BEGIN IMMEDIATE")
        insert_projects(connection, projects)
        numbers = {"projects": projects, "runs": runs}
        # First, because they count the runs.
        connection.execute(_QUEUES, numbers)
        connection.execute(_RUNS, numbers)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure page 1 and page 1,000 of a million runs, page 1 of a thousand runs, and a page of
    their projects with what their runs are like, in turns.

    A quick run has fewer runs, and its last full page is the deep one. Raises `BenchError`.
    """
    many = max(FEW * 2, round(MANY * options.scale))
    deep = min(DEEP_PAGE, many // PAGE)
    strongroom = BY_NAME["strongroom"]
    data: dict[str, Path] = {}
    for name, runs in (("million", many), ("thousand", FEW)):
        data[name] = folder / name / "data"
        data[name].parent.mkdir()
        with (
            strongroom.running(data[name]) as server,
            Client(server.port, strongroom.token(data[name])) as client,
        ):
            if not client.has("GET", _PATH):
                results.note("Strongroom does not have: list of runs")
                return
        fill(data[name] / "strongroom.db", runs)
    tokens = {name: strongroom.token(path) for name, path in data.items()}
    with (
        strongroom.running(data["million"]) as million,
        strongroom.running(data["thousand"]) as thousand,
    ):
        pages = _Pages(options, results, tokens, folder / "paths.lines")
        cursor = _cursor(million, tokens["million"], deep)
        for _ in range(options.rounds):
            pages.load("million", "page1", million, _PATH)
            pages.load("million", "page1000", million, f"{_PATH}&cursor={cursor}")
            pages.load("thousand", "page1", thousand, _PATH)
            for size, server in (("million", million), ("thousand", thousand)):
                pages.load(size, "projects", server, *_project_pages())


class _Pages:
    """Loads of one page each."""

    def __init__(
        self, options: Options, results: Results, tokens: dict[str, str], lines: Path
    ) -> None:
        self._options, self._results, self._tokens = options, results, tokens
        self._lines = lines

    def load(self, size: str, page: str, server: Server, *paths: str) -> None:
        requests = wrk.Requests("path", self._tokens[size], path=paths[0])
        if len(paths) > 1:
            self._lines.write_text("".join(f"GET\t{path}\t\n" for path in paths), "utf-8")
            requests = wrk.Requests("lines", self._tokens[size], lines=self._lines)
        seconds = self._options.seconds
        wrk.load(server.port, requests, connections=CONNECTIONS, seconds=self._options.warm_up)
        load = wrk.load(server.port, requests, connections=CONNECTIONS, seconds=seconds)
        name = f"depth.{size}.{page}"
        for field in FIELDS:
            self._results.figures.setdefault(f"{name}.{field}", []).append(getattr(load, field))
        if load.errors or not load.requests:
            self._results.failures.append(f"{name}: {load.errors or 'no answer'}")


def _project_pages() -> list[str]:
    """The paths of one page of projects with their runs, in so many spellings that none of the
    answers is a kept one."""
    return [
        f"/api/projects?{spelt('include', number)}=runs&{spelt('limit', number >> 7)}={PAGE}"
        for number in range(1 << _SPELLINGS)
    ]


def spelt(name: str, number: int) -> str:
    """The name in one of its percent-encoded forms."""
    return "".join(
        f"%{ord(letter):02x}" if number >> place & 1 else letter
        for place, letter in enumerate(name)
    )


def _cursor(server: Server, token: str, page: int) -> str:
    """The cursor of a page, found by reading the pages before it. Raises `BenchError`."""
    cursor = None
    with Client(server.port, token) as client:
        for _ in range(page - 1):
            path = _PATH if cursor is None else f"{_PATH}&cursor={cursor}"
            cursor = client.require("GET", path)["next_cursor"]
            if cursor is None:
                raise BenchError(f"there is no page {page} of runs")
    return cursor or ""
