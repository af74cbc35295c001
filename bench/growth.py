"""What an installation with many rows costs more than one with a thousand of each kind.

Both are filled by `bench.growth_fill`, served at once, and asked in turns over one connection each,
so that whatever else the machine does slows down both alike.
"""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.client import Client
from bench.contestants import BY_NAME, ROOT, strongroom_program
from bench.growth_kinds import KINDS, SEARCHES
from bench.growth_requests import FEW, Installation, requests_of
from bench.logs import Source, serving
from bench.options import Options
from bench.processes import BenchError, Server, environment, free_port, running
from bench.results import Results
from bench.wire import Wire

SIZES = ("few", "many")
PAIRS = 250
"""The pairs of requests of each kind in a round."""
STARTS = 3
LOGS_PER_SECOND = 1_000
COMMANDS = ("verify", "backup")

FIGURES = (
    *(
        f"growth.{kind}.{size}.{f}"
        for kind in (*KINDS, *SEARCHES)
        for size in SIZES
        for f in ("p50", "p99")
    ),
    *(f"growth.{what}.{size}.seconds" for what in ("start", *COMMANDS) for size in SIZES),
    "growth.backup.estimate",
    "growth.retention.per_second",
    "growth.retention.read.p99",
    *(f"growth.rows.{kind}" for kind in ("projects", "runs", "logs")),
    "growth.file.mib",
    "growth.fill.seconds",
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure all that should not grow with the data. Raises `BenchError`."""
    rows = {kind: max(FEW, round(n * options.scale)) for kind, n in options.growth.items()}
    few = Installation("few", folder / "few" / "data", FEW, FEW, FEW)
    many = Installation("many", folder / "many" / "data", **rows)
    _fill(few)
    _note(results, "growth.fill.seconds", _fill(many))
    for kind, number in rows.items():
        _note(results, f"growth.rows.{kind}", number)
    _note(results, "growth.file.mib", many.database.stat().st_size / 2**20)
    for one in (few, many):
        for _ in range(1 if options.quick else STARTS):
            _note(results, f"growth.start.{one.size}.seconds", _start(one))
    strongroom = BY_NAME["strongroom"]
    with strongroom.running(few.data_dir) as first, strongroom.running(many.data_dir) as second:
        pairs = _Pairs(results, [(few, first), (many, second)])
        pairs_of_round = 40 if options.quick else PAIRS
        for _ in range(options.few_rounds):
            pairs.measure(pairs_of_round)
        _note(results, "growth.backup.estimate", _estimate(many, second))
    for one in (few, many):
        for command in COMMANDS:
            _note(results, f"growth.{command}.{one.size}.seconds", _command(command, one))
    removed, p99 = _retention(many, 5 if options.quick else 30)
    _note(results, "growth.retention.per_second", removed)
    _note(results, "growth.retention.read.p99", p99)


def _note(results: Results, name: str, value: float) -> None:
    results.figures.setdefault(name, []).append(float(value))


def _fill(one: Installation) -> float:
    """Fill a new installation. Returns the seconds that it took."""
    folder = one.data_dir.parent
    folder.mkdir(parents=True)
    sizes = [
        f"--{k}={n}"
        for k, n in (("projects", one.projects), ("runs", one.runs), ("logs", one.logs))
    ]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench.growth_fill", "--work", str(folder), *sizes],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), STRONGROOM_LOG_LEVEL="WARNING"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise BenchError(f"bench.growth_fill failed: {said[-1] if said else 'it said nothing'}")
    return time.monotonic() - began


def _start(one: Installation) -> float:
    """The seconds from the start of the program until `/ready` answers 200."""
    port, folder = free_port(), one.data_dir.parent
    command = [strongroom_program(), "serve", "--port", str(port), "--data-dir", str(one.data_dir)]
    began = time.monotonic()
    with running(command, port, folder / "start.log", cwd=folder, env=environment()):
        with Client(port, "none") as client:
            while client.send("GET", "/ready")[0] != 200:
                time.sleep(0.005)
        return time.monotonic() - began


def _command(command: str, one: Installation) -> float:
    """The seconds that a command takes while no server runs. Raises `BenchError`."""
    target = one.data_dir.parent / "copy.db"
    target.unlink(missing_ok=True)
    more = [str(target)] if command == "backup" else []
    began = time.monotonic()
    done = subprocess.run(
        [strongroom_program(), command, *more, "--json", "--data-dir", str(one.data_dir)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    if done.returncode != 0:
        raise BenchError(f"strongroom {command} failed: {done.stderr.strip()}")
    seconds = time.monotonic() - began
    target.unlink(missing_ok=True)
    return seconds


def _estimate(one: Installation, server: Server) -> float:
    """Makes a backup over HTTP. Returns the time that it was estimated to take when a third was
    done, as a share of the time that it took."""
    token = BY_NAME["strongroom"].token(one.data_dir)
    ended = threading.Event()
    thread = threading.Thread(target=_back_up, args=(server.port, token, ended))
    began = time.monotonic()
    thread.start()
    estimated: float | None = None
    with Client(server.port, token) as client:
        while not ended.wait(0.1):
            _, text = client.send("GET", "/metrics")
            left = _gauge(text, b"strongroom_backup_left_seconds")
            if (
                estimated is None
                and _gauge(text, b"strongroom_backup_done_ratio") >= 1 / 3
                and left
            ):
                estimated = time.monotonic() - began + left
    thread.join()
    taken = time.monotonic() - began
    # A small one is over before it can be estimated.
    return (estimated or taken) / taken


def _back_up(port: int, token: str, ended: threading.Event) -> None:
    try:
        with Client(port, token) as client:
            client.require("POST", "/api/backups")
    finally:
        ended.set()


def _gauge(text: bytes, name: bytes) -> float:
    [line] = [one for one in text.splitlines() if one.startswith(name + b" ")]
    return float(line.split()[1])


def _retention(one: Installation, seconds: float) -> tuple[float, float]:
    """Half of the logs are removed while a thousand a second arrive. Returns how many are removed
    each second, and the P99 of a look-up meanwhile in milliseconds."""
    source = Source()
    keep = max(1, one.logs // 2)
    with serving(one.data_dir, STRONGROOM_KEEP_LOGS=str(keep)) as (server, token):
        ended, taken = threading.Event(), list[float]()
        threads = [
            threading.Thread(target=_append, args=(server.port, token, source, ended)),
            threading.Thread(target=_look_up, args=(server.port, token, ended, taken)),
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        with Client(server.port, token) as client:
            while True:
                time.sleep(0.2)
                prune = client.require("GET", "/api/retention")["prune"]
                spent = time.monotonic() - began
                if prune is not None and (prune["status"] != "running" or spent > seconds):
                    break
        ended.set()
        for thread in threads:
            thread.join()
    return prune["removed"]["logs"] / spent, statistics.quantiles(taken, n=100)[98]


def _append(port: int, token: str, source: Source, ended: threading.Event) -> None:
    step = 0.1
    number = round(LOGS_PER_SECOND * step)
    due = time.monotonic()
    with Client(port, token) as client:
        while not ended.is_set():
            client.require("POST", "/api/logs", {"logs": [source.log() for _ in range(number)]})
            due += step
            ended.wait(max(0.0, due - time.monotonic()))


def _look_up(port: int, token: str, ended: threading.Event, taken: list[float]) -> None:
    with Client(port, token) as client:
        for id in count(1):
            began = time.perf_counter()
            client.require("GET", f"/api/agent-runs/{id % FEW + 1}")
            taken.append((time.perf_counter() - began) * 1000)
            if ended.wait(0.01):
                return


class _Pairs:
    """Requests to both servers in turns."""

    def __init__(self, results: Results, pairs: Sequence[tuple[Installation, Server]]) -> None:
        self._results = results
        self._pairs = pairs
        self._numbers = count(1)
        strongroom = BY_NAME["strongroom"]
        self._tokens = {one.size: strongroom.token(one.data_dir) for one, _ in pairs}
        self._made = {
            one.size: requests_of(one, server.port, self._tokens[one.size]) for one, server in pairs
        }

    def measure(self, pairs: int) -> None:
        """Measure all kinds once."""
        for kind in (*KINDS, *SEARCHES):
            taken = self._measured(kind, pairs)
            for size, times in taken.items():
                cuts = statistics.quantiles(times, n=100)
                _note(self._results, f"growth.{kind}.{size}.p50", cuts[49])
                _note(self._results, f"growth.{kind}.{size}.p99", cuts[98])

    def _measured(self, kind: str, pairs: int) -> dict[str, list[float]]:
        taken: dict[str, list[float]] = {one.size: [] for one, _ in self._pairs}
        with self._wires() as wires:
            for _ in range(pairs):
                number = next(self._numbers)
                for size, wire in wires.items():
                    method, path, body = self._made[size][kind](number)
                    request = wire.request(method, path, body)
                    began = time.perf_counter()
                    status = wire.send(request)
                    taken[size].append((time.perf_counter() - began) * 1000)
                    if not 200 <= status < 300:
                        raise BenchError(f"{method} {path} was answered {status}")
        return taken

    @contextmanager
    def _wires(self) -> Iterator[dict[str, Wire]]:
        wires = {one.size: Wire(s.port, self._tokens[one.size]) for one, s in self._pairs}
        try:
            yield wires
        finally:
            for wire in wires.values():
                wire.close()
