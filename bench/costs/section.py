"""Measures the parts of requests: the same load without probes, with them, and with them twice."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME, PROBED, PROBED_TWICE
from bench.costs.meter import Cost
from bench.costs.table import REST, WHOLE, Spent, add_up, spent
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.processes import BenchError, Server
from bench.results import Results
from bench.workloads import BY_NAME as WORKLOADS
from bench.workloads import PROJECTS

KINDS = ("create", "upsert", "log", "read")
"""The workloads. All reads are answered from kept answers."""
MOST_REST = 0.05
"""A larger share of the whole as the rest is noted: the machine was not quiet enough."""
ROUNDS = 8
SECONDS = 1.0
"""Many short loads find a quiet moment of the machine for each server; a few long ones do not."""


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure each workload on all servers in turns. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    once: dict[str, list[Spent]] = {kind: [] for kind in KINDS}
    twice: dict[str, list[float]] = {kind: [] for kind in KINDS}
    plain: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        servers: list[tuple[Server, str]] = []
        for contestant in (strongroom, PROBED, PROBED_TWICE):
            data_dir = folder / contestant.name / "data"
            data_dir.parent.mkdir()
            server = stack.enter_context(contestant.running(data_dir))
            servers.append((server, strongroom.token(data_dir)))
            with Client(*_address(servers[-1])) as client:
                seed(client)
        for _ in range(1 if options.quick else ROUNDS):
            for kind in KINDS:
                plain[kind].append(_load(*servers[0], kind)[1])
                once[kind].append(_spent(*servers[1], kind))
                twice[kind].append(_load(*servers[2], kind)[1])
    for kind in KINDS:
        # The least of the rounds, because other work on the machine only adds to them; all parts of
        # one round, because those of several would not add up.
        least = min(once[kind], key=lambda one: one.whole)
        title = WORKLOADS[kind].title
        table = results.parts[title] = add_up(least, min(twice[kind]), min(plain[kind]))
        if abs(table[REST]) > MOST_REST * table[WHOLE]:
            share = table[REST] / table[WHOLE]
            results.note(
                f"the parts of {title} do not add up: the rest is {share:.0%} of the whole"
            )


def _address(server: tuple[Server, str]) -> tuple[int, str]:
    return server[0].port, server[1]


def _load(server: Server, token: str, kind: str) -> tuple[int, float]:
    """The number of requests, and microseconds of the processor for each."""
    requests = wrk.Requests(WORKLOADS[kind].script, token, PROJECTS)
    server.settle()
    before = server.cpu_seconds()
    load = wrk.load(server.port, requests, connections=CONNECTIONS, seconds=SECONDS)
    server.settle()
    if load.errors or not load.requests:
        raise BenchError(f"the parts of {kind}: {load.errors or 'no answer'}")
    # Each connection had one more request under way at the end, whose answer is not counted.
    done = load.requests + CONNECTIONS
    return done, (server.cpu_seconds() - before) / done * 1_000_000


def _spent(server: Server, token: str, kind: str) -> Spent:
    with Client(server.port, token) as client:
        before = client.require("GET", "/bench/costs")
        requests, _ = _load(server, token, kind)
        after: Mapping[str, Any] = client.require("GET", "/bench/costs")
    costs = {name: Cost(**cost) for name, cost in after["costs"].items()}
    return spent(before, after, costs, requests)
