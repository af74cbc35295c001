"""The effect of one client on another: a client beside an equal one, and beside one that sends ten
times as much."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import loads, wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME
from bench.goals import NEIGHBOUR
from bench.options import Options
from bench.processes import Server
from bench.results import Results
from bench.workloads import PROJECTS

SHARE = 8
"""Connections of a client that takes only its share."""
TIMES = {"beside_one": 1, "beside_ten": 10}
HEAD_START_SECONDS = 0.5

FIGURES = loads.names(
    [f"neighbour.{w}.{beside}" for w in NEIGHBOUR for beside in TIMES],
    [field for field in loads.FIELDS if field != "cpu_us"],
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure each workload of one client beside both neighbours, in turns. Raises
    `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir) as server:
        mine = strongroom.token(data_dir)
        with Client(server.port, mine) as client:
            seed(client)
            body = {"name": "neighbour", "scopes": ["admin"]}
            others = client.require("POST", "/api/tokens", body)["token"]
        for _ in range(options.few_rounds):
            for workload in NEIGHBOUR:
                for beside, times in TIMES.items():
                    measured = _beside(server, workload, (mine, others), times, options.seconds)
                    loads.note(f"neighbour.{workload}.{beside}", measured, results)


def _beside(
    server: Server, workload: str, tokens: tuple[str, str], times: int, seconds: float
) -> loads.Measured:
    mine, others = (wrk.Requests(workload, token, PROJECTS) for token in tokens)
    server.settle()
    with ThreadPoolExecutor(1) as pool:
        # It begins before the measured client, and ends after it.
        other = pool.submit(
            wrk.load,
            server.port,
            others,
            connections=SHARE * times,
            seconds=seconds + 2 * HEAD_START_SECONDS,
        )
        time.sleep(HEAD_START_SECONDS)
        load = wrk.load(server.port, mine, connections=SHARE, seconds=seconds)
        other.result()
    # The processor works for both clients, so its time is no figure of one.
    return loads.Measured(load, None)
