"""Many rows in one request: logs, and results of tests."""

import json
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.contestants import BY_NAME
from bench.logs import Source, send_all
from bench.options import Options
from bench.results import Results
from bench.workloads import project_body

ROWS = 1000
BATCHES = 40
"""Requests of each round, which are made before it begins."""
SENDERS = 2
RUNS = 4

KINDS = ("logs", "test_results")
FIGURES = tuple(f"bulk.{kind}.rows_per_second" for kind in KINDS)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure rows a second of both kinds, in turns. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    batches = max(SENDERS, round(BATCHES * options.scale * (5 if options.quick else 1)))
    logs, suites = Source(), 0
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            for number in range(RUNS):
                client.require("POST", "/api/projects", project_body(number))
                body = {"project_id": number + 1, "target_text": "Test it."}
                client.require("POST", "/api/agent-runs", body)
        for _ in range(options.rounds):
            made: dict[str, list[tuple[str, bytes]]] = {
                "logs": [("/api/logs", logs.batch()) for _ in range(batches)],
                "test_results": [],
            }
            for _ in range(batches):
                suites += 1
                path = f"/api/agent-runs/{suites % RUNS + 1}/test-results"
                made["test_results"].append((path, _suite(suites)))
            for kind, requests in made.items():
                server.settle()
                seconds = send_all(server.port, token, requests, SENDERS)
                rates = results.figures.setdefault(f"bulk.{kind}.rows_per_second", [])
                rates.append(ROWS * batches / seconds)


def _suite(number: int) -> bytes:
    """The results of a thousand tests, which no other suite has."""
    return json.dumps({"test_results": [_result(number, test) for test in range(ROWS)]}).encode()


def _result(suite: int, test: int) -> dict[str, Any]:
    failed = test % 50 == 0
    return {
        "test_type": "unit",
        "test_name": f"tests.suite_{suite}.TestLedger.test_entry_{test}",
        "status": "failed" if failed else "passed",
        "duration_seconds": round(0.001 * (test % 97), 3),
        **({"error_message": "AssertionError: 3 != 4"} if failed else {}),
    }
