"""The latencies that take long loads or unusual numbers of connections to see."""

from pathlib import Path

from bench import loads, wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS, SHARES
from bench.options import Options
from bench.results import Results
from bench.workloads import BY_NAME as WORKLOADS
from bench.workloads import PROJECTS

TAIL_SECONDS = 30.0
"""Long enough that a thousandth of the slowest workload is some dozens of requests."""
FEW, MANY = 1, 1024

TAIL_FIGURES = loads.names([f"tail.{name}" for name in SHARES])
EXTREMES_FIGURES = loads.names([f"extremes.create.{number}" for number in (FEW, MANY)])


def measure_tail(options: Options, folder: Path, results: Results) -> None:
    """Measure each workload for 30 seconds, once. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    seconds = options.seconds if options.quick else TAIL_SECONDS
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            seed(client)
        for name in SHARES:
            requests = wrk.Requests(WORKLOADS[name].script, token, PROJECTS)
            loads.add(
                f"tail.{name}",
                server,
                requests,
                options,
                results,
                connections=CONNECTIONS,
                seconds=seconds,
            )


def measure_extremes(options: Options, folder: Path, results: Results) -> None:
    """Measure creates over one connection and over 1,024, in turns. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir) as server:
        requests = wrk.Requests("create", strongroom.token(data_dir), PROJECTS)
        for _ in range(options.rounds):
            for number in (FEW, MANY):
                loads.add(
                    f"extremes.create.{number}",
                    server,
                    requests,
                    options,
                    results,
                    connections=number,
                )
