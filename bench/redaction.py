"""Redaction over HTTP: creating logs in a project without secrets and in one with fifty, in turns;
and looking through stored logs for their values, with what that costs other requests."""

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench import loads, wrk
from bench.client import Client
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS
from bench.logs import BATCH, Source, send_all
from bench.options import Options
from bench.processes import BenchError, Server
from bench.redacting import FIGURES as INSIDE
from bench.redacting import secrets
from bench.results import Results
from bench.workloads import project_body

HOWS = ("without", "with")
LOGS = 1000
"""Different logs that are sent again and again."""
SCANNED = 200_000
HEALTH_PAUSE = 0.02
FIGURES = (
    *INSIDE,
    *loads.names([f"redaction.http.{how}" for how in HOWS]),
    "redaction.http.more",
    "redaction.scan.per_second",
    *(f"redaction.scan.health.{when}.{field}" for when in HOWS for field in ("p50", "p99")),
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure creates of logs, and scans. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            for number, some in enumerate(([], secrets())):
                body = {**project_body(number), "secrets": some}
                client.require("POST", "/api/projects", body)
        for number in range(options.few_rounds):
            cpu: dict[str, float] = {}
            # Each is the first of a pair in its turn.
            for how in HOWS[:: -1 if number % 2 else 1]:
                requests = wrk.Requests("lines", token, lines=_lines(folder, how))
                name = f"redaction.http.{how}"
                found = loads.add(name, server, requests, options, results, connections=CONNECTIONS)
                if found.cpu_us is None:
                    raise BenchError(f"{name}: the processor time is unknown")
                cpu[how] = found.cpu_us
            more = results.figures.setdefault("redaction.http.more", [])
            more.append(cpu["with"] - cpu["without"])
    _measure_scans(options, folder / "scanned", results)


def _lines(folder: Path, how: str) -> Path:
    """The file with a request for each log."""
    file = folder / f"{how}.lines"
    if not file.exists():
        source, project_id = Source(), 1 + HOWS.index(how)
        logs = (json.dumps({**source.log(), "project_id": project_id}) for _ in range(LOGS))
        file.write_text("".join(f"POST\t/api/logs\t{log}\n" for log in logs), "utf-8")
    return file


def _measure_scans(options: Options, folder: Path, results: Results) -> None:
    """Logs that a scan looks through a second, and `/health` beside it."""
    strongroom = BY_NAME["strongroom"]
    logs = max(BATCH, round(SCANNED * options.scale))
    values = [one["value"] for one in secrets()]
    folder.mkdir()
    with strongroom.running(folder / "data") as server:
        token = strongroom.token(folder / "data")
        with Client(server.port, token) as client:
            client.require("POST", "/api/projects", project_body(0))
            source = Source()
            leaks = islice(cycle(values), logs // 100)
            for _ in range(logs // BATCH):
                batch = [{**source.log(), "project_id": 1} for _ in range(BATCH)]
                for log, value in zip(batch[::100], leaks, strict=False):
                    log["message"] = value
                send_all(server.port, token, [("/api/logs", _body(batch))], 1)
            client.require("PUT", "/api/projects/1/secrets", {"secrets": secrets()})
            server.settle()
            with _health(server, results, "without"):
                time.sleep(options.seconds)
            for _ in range(options.few_rounds):
                with _health(server, results, "with"):
                    began = time.perf_counter()
                    found = _scan(client)
                    seconds = time.perf_counter() - began
                if found < logs // 100:
                    raise BenchError(f"a scan found {found} of {logs // 100} values")
                rates = results.figures.setdefault("redaction.scan.per_second", [])
                rates.append(logs / seconds)


def _body(batch: list[dict[str, object]]) -> bytes:
    return json.dumps({"logs": batch}).encode()


def _scan(client: Client) -> int:
    """Scan the whole project. Returns how many values were found in logs."""
    path = "/api/projects/1/secrets/scan"
    found, cursor = 0, ""
    while True:
        answer: dict[str, Any] = client.require(
            "POST", f"{path}?cursor={cursor}" if cursor else path
        )
        found += int(sum(one["count"] for one in answer["found"] if one["resource"] == "logs"))
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


@contextmanager
def _health(server: Server, results: Results, when: str) -> Iterator[None]:
    """Send one `/health` after the other during the block, and add how long they took."""
    taken: list[float] = []
    end = threading.Event()

    def ask() -> None:
        with Client(server.port, "none") as client:
            while not end.is_set():
                began = time.perf_counter()
                client.require("GET", "/health")
                taken.append((time.perf_counter() - began) * 1000)
                end.wait(HEALTH_PAUSE)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    taken.sort()
    name = f"redaction.scan.health.{when}"
    results.figures.setdefault(f"{name}.p50", []).append(statistics.median(taken))
    results.figures.setdefault(f"{name}.p99", []).append(taken[int(len(taken) * 0.99)])
