"""Many rows in one request, in each form in which they are sent: logs as JSON, as NDJSON and
compressed, and results of tests as files of JUnit XML."""

from pathlib import Path

from bench.bulk import SENDERS
from bench.client import Client
from bench.contestants import BY_NAME
from bench.logs import BATCH, FORMS, PROJECTS, Source, send_all
from bench.options import Options
from bench.results import Results
from bench.workloads import project_body

BATCHES = 40
"""Requests of each kind in a round, which are made before it begins."""
KINDS = (*FORMS, "junit")
FIGURES = tuple(f"logs.{kind}.{field}" for kind in KINDS for field in ("rows_per_second", "cpu_us"))
_FAILURE = (
    '<failure message="AssertionError: 3 != 4">def test_entry():\n'
    "&gt;       assert 3 == 4\nE       AssertionError: 3 != 4\n</failure>"
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure rows a second, and the server's processor for each row, of all kinds in turns. Raises
    `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    batches = max(SENDERS, round(BATCHES * options.scale * (5 if options.quick else 1)))
    logs, suites = Source(), 0
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            for number in range(PROJECTS):
                client.require("POST", "/api/projects", project_body(number))
                run = {"project_id": number + 1, "target_text": "Test it."}
                client.require("POST", "/api/agent-runs", run)
        for _ in range(options.rounds):
            for kind in KINDS:
                requests: list[tuple[str, bytes]] = []
                for _ in range(batches):
                    suites += 1
                    requests.append(
                        (f"/api/agent-runs/{suites % PROJECTS + 1}/test-results", _suite(suites))
                        if kind == "junit"
                        else ("/api/logs", logs.batch(kind))
                    )
                server.settle()
                before = server.cpu_seconds()
                seconds = send_all(server.port, token, requests, SENDERS, kind)
                rows = BATCH * batches
                for field, value in (
                    ("rows_per_second", rows / seconds),
                    ("cpu_us", (server.cpu_seconds() - before) / rows * 1e6),
                ):
                    results.figures.setdefault(f"logs.{kind}.{field}", []).append(value)


def _suite(number: int) -> bytes:
    """The file of a suite of a thousand tests, which no other suite has, as pytest writes it."""
    cases = "".join(_case(number, test) for test in range(BATCH))
    return (
        '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite '
        f'name="pytest" errors="0" failures="{BATCH // 50}" skipped="0" tests="{BATCH}" '
        f'time="12.345" timestamp="2026-01-31T12:00:00.123456">{cases}</testsuite></testsuites>'
    ).encode()


def _case(suite: int, test: int) -> str:
    place = f'classname="tests.suite_{suite}.TestLedger" name="test_entry_{test}"'
    time = f'time="{0.001 * (test % 97):.3f}"'
    return f"<testcase {place} {time}>{'' if test % 50 else _FAILURE}</testcase>"
