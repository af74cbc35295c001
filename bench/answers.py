"""What answers cost: kept ones against a constant of uvicorn, and ones that can't be kept against
the ceiling."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import loads, wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME, RAW
from bench.depth import insert_projects
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.processes import Server
from bench.results import Results
from bench.workloads import BY_NAME as WORKLOADS
from bench.workloads import PROJECTS

KEPT = ("read", "list", "full")
UNKEPT = ("read", "list")
WITH_RUNS = "list-runs"
"""A list of projects with what their runs are like."""
MANY = 125_000
"""Projects, so that neither all of them nor all pages of 50 fit among the kept answers. They are
asked for in a circle: whatever is dropped first, each answer was dropped before it is asked for
again."""
PAGE = 50

KEPT_FIGURES = (
    *loads.names([f"kept.{peer}{name}" for peer in ("", "raw-") for name in KEPT]),
    *(f"kept.{name}.more" for name in KEPT),
)
UNKEPT_FIGURES = loads.names(
    [
        *(f"unkept.{peer}{name}" for peer in ("", "ceiling-") for name in UNKEPT),
        f"unkept.{WITH_RUNS}",
    ]
)
_QUEUES = "INSERT INTO run_queues (project_id, last_run_number) SELECT id, 2 FROM projects"
_RUNS = (
    "INSERT INTO agent_runs (project_id, run_number, target_text, status, created_at, updated_at,"
    " started_at, completed_at) SELECT id, {number}, 'Fix the build', '{status}', created_at,"
    " updated_at, created_at, {completed_at} FROM projects"
)


def measure_kept(options: Options, folder: Path, results: Results) -> None:
    """Measure kept answers and the same bytes from uvicorn alone, in turns. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir) as ours, RAW.running(folder / "raw") as raw:
        token = strongroom.token(data_dir)
        with Client(ours.port, token) as client:
            seed(client)
        for _ in range(options.few_rounds):
            for name in KEPT:
                requests = wrk.Requests(WORKLOADS[name].script, token, PROJECTS)
                cpu = [
                    _load(f"kept.{peer}{name}", server, requests, options, results)
                    for peer, server in (("raw-", raw), ("", ours))
                ]
                more = results.figures.setdefault(f"kept.{name}.more", [])
                more.append(cpu[1] - cpu[0])


def measure_unkept(options: Options, folder: Path, results: Results) -> None:
    """Measure more different reads and pages than are kept, the same requests at the ceiling, and
    the pages with runs, in turns. Raises `BenchError`."""
    strongroom, ceiling = BY_NAME["strongroom"], BY_NAME["ceiling"]
    data_dir = folder / "data"
    with strongroom.running(data_dir):
        token = strongroom.token(data_dir)
    projects = max(PAGE * 4, round(MANY * options.scale))
    connection = sqlite3.connect(data_dir / "strongroom.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        insert_projects(connection, projects)
        # Each of them works on a run, which is what a list has to look for.
        connection.execute(_QUEUES)
        for number, status, completed_at in (
            (1, "completed", "created_at"),
            (2, "running", "NULL"),
        ):
            connection.execute(
                _RUNS.format(number=number, status=status, completed_at=completed_at)
            )
        connection.execute("COMMIT")
    finally:
        connection.close()
    with ExitStack() as stack:
        ours = stack.enter_context(strongroom.running(data_dir))
        its = stack.enter_context(ceiling.running(folder / "ceiling"))
        lines = {
            "read": _write(
                folder / "read.lines", (f"/api/projects/{n}" for n in range(1, projects + 1))
            ),
            "list": _write(folder / "list.lines", _pages(ours, token)),
        }
        with_runs = _write(folder / "runs.lines", _pages(ours, token, "&include=runs"))
        for _ in range(options.few_rounds):
            for name, file in lines.items():
                requests = wrk.Requests("lines", token, lines=file)
                for peer, server in (("ceiling-", its), ("", ours)):
                    _load(f"unkept.{peer}{name}", server, requests, options, results)
            requests = wrk.Requests("lines", token, lines=with_runs)
            _load(f"unkept.{WITH_RUNS}", ours, requests, options, results)


def _load(
    name: str, server: Server, requests: wrk.Requests, options: Options, results: Results
) -> float:
    """Measure one load. Returns microseconds of the processor for each request."""
    measured = loads.add(name, server, requests, options, results, connections=CONNECTIONS)
    return measured.cpu_us or 0.0


def _pages(server: Server, token: str, more: str = "") -> Iterator[str]:
    """The paths of all pages of projects, as a client finds them."""
    path = f"/api/projects?limit={PAGE}{more}"
    with Client(server.port, token) as client:
        cursor = client.require("GET", path)["next_cursor"]
        yield path
        while cursor is not None:
            yield f"{path}&cursor={cursor}"
            cursor = client.require("GET", f"{path}&cursor={cursor}")["next_cursor"]


def _write(file: Path, paths: Iterable[str]) -> Path:
    file.write_text("".join(f"GET\t{path}\t\n" for path in paths), "utf-8")
    return file
