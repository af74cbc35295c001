"""Loads of Strongroom alone: warmed up, measured, and added to the figures of the run."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench import wrk
from bench.options import Options
from bench.processes import Server
from bench.results import Results

FIELDS = ("per_second", "p50", "p99", "p999", "cpu_us", "errors")
"""The figures of each load: latencies in milliseconds, microseconds of the server's processor for
each request, and the number of errors."""


def names(loads: Sequence[str], fields: Sequence[str] = FIELDS) -> tuple[str, ...]:
    """The names of the figures of these loads."""
    return tuple(f"{load}.{field}" for load in loads for field in fields)


@dataclass(frozen=True, slots=True)
class Measured:
    """A load, and what it cost the server."""

    load: wrk.Load
    cpu_us: float | None
    """Microseconds of the server's processor for each request; `None` if it also worked for
    others."""

    @property
    def figures(self) -> dict[str, float]:
        """The figures of `FIELDS`, as far as they were measured."""
        load = self.load
        cpu = {} if self.cpu_us is None else {"cpu_us": self.cpu_us}
        return {
            "per_second": load.per_second,
            "p50": load.p50,
            "p99": load.p99,
            "p999": load.p999,
            **cpu,
            "errors": float(sum(load.errors.values())),
        }


def measure(
    server: Server, requests: wrk.Requests, *, connections: int, seconds: float
) -> Measured:
    """Run one load on an idle server, without a warm-up. Raises `BenchError`."""
    server.settle()
    before = server.cpu_seconds()
    load = wrk.load(server.port, requests, connections=connections, seconds=seconds)
    cpu = server.cpu_seconds() - before
    return Measured(load, cpu / max(1, load.requests) * 1_000_000)


def add(
    name: str,
    server: Server,
    requests: wrk.Requests,
    options: Options,
    results: Results,
    *,
    connections: int,
    seconds: float | None = None,
) -> Measured:
    """Run one load after its warm-up, and add its figures. A load with errors is also added to the
    failures. Raises `BenchError`."""
    if options.warm_up:
        wrk.load(server.port, requests, connections=connections, seconds=options.warm_up)
    measured = measure(
        server, requests, connections=connections, seconds=seconds or options.seconds
    )
    note(name, measured, results)
    return measured


def note(name: str, measured: Measured, results: Results) -> None:
    """Add the figures of a load, and a failure if not every request succeeded."""
    load = measured.load
    if not load.requests:
        # Without answers there is no latency, and 0 would look like the best one.
        results.failures.append(f"{name}: no answer")
        return
    for field, value in measured.figures.items():
        results.figures.setdefault(f"{name}.{field}", []).append(value)
    if load.errors:
        what = ", ".join(f"{count} {kind}" for kind, count in load.errors.items())
        results.failures.append(f"{name}: {what}")
