"""Large pages: how much they delay other requests, and the memory that they take.

`python -m bench.pages` starts the installed server on a new data directory, creates 240 runs with
2 MB of text each, and lets ten clients read `GET /api/agent-runs?limit=500` again and again while
another one requests `/health`. It prints its figures.
"""

import argparse
import json
import tempfile
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.logs import serving
from bench.processes import Server

TEXT = "x" * 1_000_000


def seed(client: Client, runs: int) -> None:
    """Create runs with 2 MB of text each."""
    body = {"name": "p", "github_owner": "o", "github_repo": "r"}
    project = client.require("POST", "/api/projects", body)
    for _ in range(runs):
        run = client.require(
            "POST", "/api/agent-runs", {"project_id": project["id"], "target_text": "t"}
        )
        for field in ("result", "error_message"):
            client.require("PATCH", f"/api/agent-runs/{run['id']}", {field: TEXT})


class Readers:
    """Clients that read the first page of the runs again and again."""

    def __init__(self, port: int, token: str, number: int, *, gzip: bool) -> None:
        self.pages = 0
        self.largest = 0
        self.statuses: set[int] = set()
        self._headers = {"Authorization": f"Bearer {token}"}
        if gzip:
            self._headers["Accept-Encoding"] = "gzip"
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(port,)) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int) -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            while not self._end.is_set():
                connection.request("GET", "/api/agent-runs?limit=500", headers=self._headers)
                answer = connection.getresponse()
                size = len(answer.read())
                self.statuses.add(answer.status)
                self.pages += 1
                self.largest = max(self.largest, size)

    def stop(self) -> None:
        """Stop each client after its current page."""
        self._end.set()
        for thread in self._threads:
            thread.join()


def measure(server: Server, token: str, readers: int, seconds: float, *, gzip: bool) -> Any:
    """Latencies of `/health` in milliseconds, pages a second, and the server's memory."""
    before = server.memory_mib("VmRSS")
    reading = Readers(server.port, token, readers, gzip=gzip)
    taken = []
    began = time.perf_counter()
    with Client(server.port, token) as client:
        while (now := time.perf_counter()) - began < seconds:
            client.require("GET", "/health")
            taken.append((time.perf_counter() - now) * 1000)
            time.sleep(0.005)
    elapsed = time.perf_counter() - began
    reading.stop()
    ordered = sorted(taken)
    return {
        "statuses": sorted(reading.statuses),
        "largest_page_bytes": reading.largest,
        "pages_per_second": round(reading.pages / elapsed, 1),
        "health_ms": {
            name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
        "rss_before_mib": round(before, 1),
        "rss_peak_mib": round(server.memory_mib("VmHWM"), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--runs", type=int, default=240)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        data_dir = Path(folder) / "data"
        with serving(data_dir) as (server, token), Client(server.port, token) as client:
            seed(client, options.runs)
        for gzip in (False, True):
            # A new process, because the peak of memory covers its whole life.
            with serving(data_dir) as (server, token):
                found = measure(server, token, options.readers, options.seconds, gzip=gzip)
                print("gzip" if gzip else "plain", json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
