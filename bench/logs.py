"""Logs by the million: how fast they are appended, found and removed.

`python -m bench.logs` starts the installed server on a new data directory, fills it, searches it,
and removes all but a thousand logs during reads and writes. It prints its figures. With
`--form` the logs are sent as log shippers send them.
"""

import argparse
import gzip
import json
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.client import Client
from bench.contestants import ROOT, strongroom_program
from bench.machine import machine
from bench.processes import BenchError, Server, environment, free_port, running

BATCH = 1000
ROUND = 20
"""The number of batches that are prepared and then sent as one timed round."""
PROJECTS = 4
SEARCHES = 100
RATE = 100.0
"""Requests a second of each kind during a removal."""
KEPT = 1000
FORMS = {
    "json": {"Content-Type": "application/json"},
    "ndjson": {"Content-Type": "application/x-ndjson"},
    "gzip": {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
}
"""The forms of a batch, with the headers that declare them."""
_HEADERS = {**FORMS, "junit": {"Content-Type": "application/xml"}}

_COMPONENTS = ("planner", "executor", "github", "tester", "deployer", "scheduler", "api")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SHARES = (30.0, 55.0, 10.0, 4.9, 0.1)
_WORDS = (
    *("connection", "timeout", "retry", "worker", "request", "database", "commit", "failed"),
    *("started", "finished", "pipeline", "snapshot", "deploy", "webhook", "delivery", "token"),
    *("cache", "queue", "agent", "run", "test", "passed", "error", "branch", "merge", "pull"),
    *("review", "status", "response", "upstream", "socket", "closed", "reset", "limit"),
)


class Source:
    """Generates the same logs in every run."""

    def __init__(self) -> None:
        self._random = random.Random(1)  # noqa: S311
        self._made = 0

    def log(self) -> dict[str, Any]:
        """The next log, of some hundred bytes."""
        rng = self._random
        self._made += 1
        words = " ".join(rng.choices(_WORDS, k=rng.randint(4, 14)))
        return {
            "level": rng.choices(_LEVELS, _SHARES)[0],
            "message": f"{words} {rng.randint(1, 10**6)} in {rng.randint(1, 9999)} ms the",
            "component": rng.choice(_COMPONENTS),
            "context": {"attempt": rng.randint(1, 9), "host": f"w-{rng.randint(1, 50)}"},
            "correlation_id": f"{self._made // 10:032x}",
            "project_id": 1 + rng.randrange(PROJECTS),
        }

    def batch(self, form: str = "json") -> bytes:
        """The body of a request with the next thousand logs, in one of the `FORMS`."""
        logs = [self.log() for _ in range(BATCH)]
        if form == "json":
            return json.dumps({"logs": logs}).encode()
        lines = "".join(f"{json.dumps(log)}\n" for log in logs).encode()
        return gzip.compress(lines, 6) if form == "gzip" else lines


@contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[tuple[Server, str]]:
    """Start the server on a data directory. Yields the server and its token."""
    port = free_port()
    command = [strongroom_program(), "serve", "--port", str(port), "--data-dir", str(data_dir)]
    log = data_dir.parent / "server.log"
    env = environment(PYTHONPATH=str(ROOT), STRONGROOM_LOG_LEVEL="WARNING", **settings)
    with running(command, port, log, cwd=data_dir.parent, env=env) as server:
        yield server, (data_dir / "admin.token").read_text("ascii").strip()


def ceiling(directory: Path, logs: Sequence[dict[str, Any]]) -> float:
    """Rows a second into a plain table without indexes in this process, with a thousand rows for
    each COMMIT: the present limit of this machine."""
    path = directory / "ceiling.db"
    path.unlink(missing_ok=True)
    rows = [
        (*(str(value) for value in log.values()), "2026-01-01T00:00:00.000000Z") for log in logs
    ]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE logs (id INTEGER PRIMARY KEY, a, b, c, d, e, f, g)")
        began = time.perf_counter()
        for start in range(0, len(rows), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO logs (a, b, c, d, e, f, g) VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows[start : start + BATCH],
            )
            connection.execute("COMMIT")
        return len(rows) / (time.perf_counter() - began)


def send_all(
    port: int,
    token: str,
    requests: Sequence[tuple[str, bytes]],
    connections: int,
    form: str = "json",
) -> float:
    """The seconds that it takes to send all requests, each a path and a body in one of the `FORMS`
    or of JUnit XML, over this many connections. Raises `BenchError` unless all are answered 201."""
    waiting = list(requests)
    headers = {"Authorization": f"Bearer {token}", **_HEADERS[form]}
    failures: list[int] = []

    def send() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            while waiting:
                try:
                    path, body = waiting.pop()
                except IndexError:
                    return
                connection.request("POST", path, body=body, headers=headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 201:
                    failures.append(answer.status)

    threads = [threading.Thread(target=send) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise BenchError(f"requests with many rows were answered {sorted(set(failures))}")
    return seconds


def measure_append(
    server: Server, token: str, work: Path, *, logs: int, connections: int, form: str
) -> dict[str, Any]:
    """Fill the table round by round, and compare each with the machine's limit at that time."""
    source = Source()
    rates, ceilings, cpu = [], [], []
    for number in range(logs // (BATCH * ROUND)):
        ceilings.append(ceiling(work, [source.log() for _ in range(10 * BATCH)]))
        requests = [("/api/logs", source.batch(form)) for _ in range(ROUND)]
        before = server.cpu_seconds()
        seconds = send_all(server.port, token, requests, connections, form)
        cpu.append((server.cpu_seconds() - before) / ROUND * 1000)
        rates.append(BATCH * ROUND / seconds)
        if number % 5 == 0:
            _say(f"{(number + 1) * BATCH * ROUND} logs: {rates[-1]:.0f} a second")
    return {
        "rows_per_second": _spread(rates),
        "ceiling_rows_per_second": _spread(ceilings),
        "share_of_ceiling": _spread([a / b for a, b in zip(rates, ceilings, strict=True)]),
        "server_cpu_ms_per_batch": _spread(cpu),
    }


def measure_search(port: int, token: str) -> dict[str, dict[str, float]]:
    """The latencies of lists, in milliseconds."""
    with Client(port, token) as client:
        [one] = client.require("GET", "/api/logs?limit=1&until=2100-01-01T00:00:00Z")["logs"]
        cases: dict[str, dict[str, Any]] = {
            "everything": {},
            "level=ERROR": {"level": "ERROR"},
            "level=INFO": {"level": "INFO"},
            "component": {"component": "api"},
            "correlation_id": {"correlation_id": one["correlation_id"]},
            "project, level and component": {
                "project_id": 2,
                "level": "CRITICAL",
                "component": "api",
            },
            "a word of every message": {"q": "the"},
            "a rare word": {"q": "123456"},
            "a word of none": {"q": "zzzzzz"},
            "every message, and a rare word": {"q": "the 123456"},
            "five frequent words": {"q": "connection timeout retry worker the"},
            "eight, all in few": {
                "q": "connection timeout retry worker request database commit failed"
            },
            "three in this order": {"q": "timeout-retry-worker"},
            "word, level, component, project": {
                "q": "the",
                "level": "CRITICAL",
                "component": "api",
                "project_id": 2,
            },
            "a word, up to a time": {"q": "the", "until": one["created_at"]},
            "500 of a word": {"q": "the", "limit": 500},
        }
        found = {}
        for name, params in cases.items():
            path = f"/api/logs?{urlencode(params)}"
            found[name] = _percentiles(_timed(partial(client.require, "GET", path), SEARCHES))
        return found


def measure_removal(data_dir: Path) -> dict[str, Any]:
    """Latencies during the removal of all but a thousand logs, and after it."""
    with serving(data_dir, STRONGROOM_KEEP_LOGS=str(KEPT)) as (server, token):
        beside = Beside(server.port, token)
        with Client(server.port, token) as client:
            while True:
                time.sleep(5)
                prune = client.require("GET", "/api/retention")["prune"]
                if prune is not None and prune["status"] != "running":
                    break
            during = beside.take()
            time.sleep(20)
            after = beside.take()
        beside.stop()
    return {"prune": prune, "during": during, "after": after}


class Beside:
    """Sends requests of several kinds at a steady rate, each kind on its own connection."""

    def __init__(self, port: int, token: str) -> None:
        kinds: dict[str, tuple[str, str, Any]] = {
            "point read": ("GET", "/api/projects/1", None),
            "small write": ("PATCH", "/api/projects/2", "name"),
            "no database": ("GET", "/health", None),
        }
        self._taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(kind, port, token, *call))
            for kind, call in kinds.items()
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, kind: str, port: int, token: str, method: str, path: str, field: Any) -> None:
        due = time.perf_counter()
        number = 0
        with Client(port, token) as client:
            while not self._end.is_set():
                number += 1
                body = None if field is None else {field: f"name {number}"}
                began = time.perf_counter()
                client.require(method, path, body)
                self._taken[kind].append((time.perf_counter() - began) * 1000)
                due = max(due + 1 / RATE, time.perf_counter())
                self._end.wait(max(0.0, due - time.perf_counter()))

    def take(self) -> dict[str, dict[str, float]]:
        """Percentiles since the last call, in milliseconds."""
        taken = {kind: values[:] for kind, values in self._taken.items()}
        for kind, values in taken.items():
            del self._taken[kind][: len(values)]
        return {kind: _percentiles(values) for kind, values in taken.items()}

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def _timed(call: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)}


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"median": round(middle, 3), "least": round(low, 3), "most": round(high, 3)}


def _say(text: str) -> None:
    print(text, flush=True)


def _show(title: str, table: dict[str, Any]) -> None:
    _say(f"\n{title}")
    for name, values in table.items():
        _say(f"  {name:34} {json.dumps(values)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.logs", description=__doc__)
    parser.add_argument("--logs", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--form", choices=FORMS, default="json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        work = Path(folder)
        data_dir = work / "data"
        _show("machine", machine(work))
        with serving(data_dir) as (server, token):
            with Client(server.port, token) as client:
                for number in range(PROJECTS):
                    body = {"name": "p", "github_owner": "o", "github_repo": f"r{number}"}
                    client.require("POST", "/api/projects", body)
            appended = measure_append(
                server,
                token,
                work,
                logs=options.logs,
                connections=options.connections,
                form=options.form,
            )
            _show(f"append, in batches of a thousand, {options.form}", appended)
            _show(f"lists of {options.logs} logs, ms", measure_search(server.port, token))
        removal = measure_removal(data_dir)
        _show(f"removal of all but {KEPT}", {"prune": removal["prune"]})
        _show("beside it, ms", removal["during"])
        _show("after it, ms", removal["after"])


if __name__ == "__main__":
    main()
