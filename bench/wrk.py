"""Running loads with wrk, and reading its measurements."""

import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError, environment

SCRIPT = Path(__file__).with_name("lua") / "requests.lua"
INSTALL = "wrk was not found: apt install wrk"

_LINE = re.compile(r"^bench ((?:\w+=\d+ ?)+)$", re.MULTILINE)
_ERRORS = ("connect", "read", "write", "status", "timeout")


@dataclass(frozen=True, slots=True)
class Load:
    """The measurements of wrk. Latencies are in milliseconds, `seconds` is the duration."""

    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    p999: float
    longest: float
    errors: dict[str, int]
    """The number of errors by kind, without kinds that did not occur."""

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests for wrk to send."""

    workload: str
    """The name of a function in the script."""
    token: str = "none"  # noqa: S105 - peers ask for none
    projects: int = 1
    path: str = "/"
    lines: Path | None = None
    """A file for the function `lines`, with a request on each line: method, path, body, and further
    headers (`Name: value`), with tabs between them. For the function `delivery`, a file with the
    body."""
    first: int = 1
    """The first run for the function `transition`."""
    signature: str = ""
    """The signature of that body."""


def parse(output: str) -> Load:
    """The measurements in wrk's output. Raises `BenchError` when they are missing."""
    found = _LINE.search(output)
    if found is None:
        said = output.strip().splitlines()
        raise BenchError(f"wrk gave no figures: {said[-1] if said else 'it said nothing'}")
    fields = {name: int(value) for name, value in (f.split("=") for f in found[1].split())}
    return Load(
        requests=fields["requests"],
        seconds=fields["duration"] / 1_000_000,
        p50=fields["p50"] / 1000,
        p95=fields["p95"] / 1000,
        p99=fields["p99"] / 1000,
        p999=fields["p999"] / 1000,
        longest=fields["max"] / 1000,
        errors={name: fields[name] for name in _ERRORS if fields[name]},
    )


def version() -> str:
    """wrk's version. Raises `BenchError` when it is not installed."""
    if shutil.which("wrk") is None:
        raise BenchError(INSTALL)
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    return " ".join(said.split()[:2])


def threads_for(connections: int) -> int:
    """The threads that send, at most half of the processors."""
    return min(connections, max(1, (os.cpu_count() or 1) // 2))


def load(port: int, requests: Requests, *, connections: int, seconds: float) -> Load:
    """Send `requests` over keep-alive connections for this many seconds. Raises `BenchError`."""
    threads = threads_for(connections)
    command = [
        "wrk",
        f"-t{threads}",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "30s",
        "-s",
        str(SCRIPT),
        f"http://127.0.0.1:{port}",
    ]
    env = environment(
        BENCH_WORKLOAD=requests.workload,
        BENCH_RUN=secrets.token_hex(4),
        BENCH_TOKEN=requests.token,
        BENCH_PROJECTS=str(requests.projects),
        BENCH_PATH=requests.path,
        BENCH_LINES=str(requests.lines or ""),
        BENCH_FIRST=str(requests.first),
        BENCH_SIGNATURE=requests.signature,
        BENCH_THREADS=str(threads),
    )
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=env, timeout=seconds + 120
    )
    if done.returncode != 0:
        raise BenchError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout)
