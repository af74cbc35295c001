"""Overload: the remaining throughput, the health checks, and the effect of one client on another.

`python -m bench.overload` starts the installed server and loads it with ten times the connections
that saturate it, and with one client that sends ten times as much as another. It prints its
figures.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from bench import wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME
from bench.machine import machine
from bench.processes import Server
from bench.workloads import PROJECTS

FULL = 64
"""Connections that saturate the server."""
TIMES = 10
SHARE = 8
"""Connections of a client that takes only its share."""
PAUSE = 0.02
WORKLOADS = ("create", "log", "read", "list")


class Probe(threading.Thread):
    """Requests a path again and again, on a keep-alive connection or a new one each time."""

    def __init__(self, port: int, path: str, *, kept: bool) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._path = path
        self._kept = kept
        self._end = threading.Event()
        self.taken: list[float] = []
        self.failed = 0

    def run(self) -> None:
        """Send requests until `stop`."""
        connection: HTTPConnection | None = None
        while not self._end.wait(PAUSE):
            began = time.perf_counter()
            try:
                if connection is None:
                    connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
                connection.request("GET", self._path)
                answer = connection.getresponse()
                answer.read()
                self.failed += answer.status != 200
            except (OSError, HTTPException):
                self.failed += 1
                connection = None
            self.taken.append((time.perf_counter() - began) * 1000)
            if connection is not None and not self._kept:
                connection.close()
                connection = None

    def stop(self) -> dict[str, float]:
        """Stop. Returns the latencies in milliseconds and the number of answers other than 200."""
        self._end.set()
        self.join()
        ordered = sorted(self.taken)
        return {
            "asked": len(ordered),
            "failed": self.failed,
            "p50": round(statistics.median(ordered), 1),
            "p99": round(ordered[int(len(ordered) * 0.99)], 1),
            "max": round(ordered[-1], 1),
        }


@contextmanager
def _probing(server: Server, found: dict[str, Any]) -> Iterator[None]:
    probes = {
        "/health, new connections": Probe(server.port, "/health", kept=False),
        "/ready, one connection": Probe(server.port, "/ready", kept=True),
    }
    for probe in probes.values():
        probe.start()
    try:
        yield
    finally:
        for name, probe in probes.items():
            found[name] = probe.stop()


def measure_overload(server: Server, token: str, seconds: float) -> dict[str, Any]:
    """Measure each workload with the connections that saturate the server, and ten times as
    many."""
    table: dict[str, Any] = {}
    for workload in WORKLOADS:
        requests = wrk.Requests(workload, token, PROJECTS)
        wrk.load(server.port, requests, connections=FULL, seconds=1)
        full = wrk.load(server.port, requests, connections=FULL, seconds=seconds)
        server.settle()
        found: dict[str, Any] = {}
        with _probing(server, found):
            over = wrk.load(server.port, requests, connections=FULL * TIMES, seconds=seconds)
        server.settle()
        table[workload] = {
            "full": _load(full),
            "over": _load(over),
            "goodput": round(_good(over) / _good(full), 2),
            "resident MiB": round(server.memory_mib("VmRSS")),
            **found,
        }
    return table


def measure_neighbour(
    server: Server, tokens: Sequence[str], seconds: float, rounds: int
) -> dict[str, Any]:
    """Measure the P99 of a client beside an equal client, and beside one that sends ten times as
    much, in turns. Returns medians over the rounds."""
    table: dict[str, Any] = {}
    for workload in WORKLOADS:
        mine, others = (wrk.Requests(workload, token, PROJECTS) for token in tokens)
        p99: dict[int, list[float]] = {1: [], TIMES: []}
        share: dict[int, list[float]] = {1: [], TIMES: []}
        with ThreadPoolExecutor(1) as beside:
            for _ in range(rounds):
                for times in (1, TIMES):
                    other = beside.submit(
                        wrk.load,
                        server.port,
                        others,
                        connections=SHARE * times,
                        seconds=seconds + 1,
                    )
                    time.sleep(0.5)
                    load = wrk.load(server.port, mine, connections=SHARE, seconds=seconds)
                    other.result()
                    server.settle()
                    p99[times].append(load.p99)
                    share[times].append(load.per_second)
        quiet, noisy = statistics.median(p99[1]), statistics.median(p99[TIMES])
        table[workload] = {
            "p99 beside its like": round(quiet, 1),
            "p99 beside ten times as much": round(noisy, 1),
            "ratio": round(noisy / quiet, 2),
            "per second": [round(statistics.median(share[times])) for times in (1, TIMES)],
        }
    return table


def _good(load: wrk.Load) -> float:
    """Successful answers a second."""
    return load.per_second * (1 - load.errors.get("status", 0) / max(1, load.requests))


def _load(load: wrk.Load) -> dict[str, Any]:
    return {
        "per second": round(load.per_second),
        "p50": round(load.p50, 1),
        "p99": round(load.p99, 1),
        "errors": load.errors,
    }


def _show(title: str, table: dict[str, Any]) -> None:
    print(f"\n{title}", flush=True)
    for name, values in table.items():
        print(f"  {name:8} {json.dumps(values)}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    wrk.version()
    strongroom = BY_NAME["strongroom"]
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        work = Path(folder)
        data_dir = work / "data"
        _show("machine", machine(work))
        with strongroom.running(data_dir) as server:
            token = strongroom.token(data_dir)
            with Client(server.port, token) as client:
                seed(client)
                body = {"name": "other", "scopes": ["admin"]}
                other = client.require("POST", "/api/tokens", body)["token"]
            overload = measure_overload(server, token, options.seconds)
            _show(f"{FULL} connections, and {FULL * TIMES}; ms", overload)
            neighbour = measure_neighbour(server, [token, other], options.seconds, options.rounds)
            _show(f"{SHARE} connections beside {SHARE}, and beside {SHARE * TIMES}; ms", neighbour)


if __name__ == "__main__":
    main()
