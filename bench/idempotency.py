"""The cost of an `Idempotency-Key`: creates with one and without, in turns, as processor time of
the server's process."""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from bench import loads, wrk
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS
from bench.processes import BenchError, Server

FIGURES = tuple(f"idempotency.create.{how}" for how in ("with", "without", "more"))
SCRIPTS = {"with": "create_with_key", "without": "create"}


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, float]:
    """Microseconds of the server's processor for each create, by figure: the medians of all rounds;
    `more` is the median difference of the two loads of a round. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    taken: dict[str, list[float]] = {how: [] for how in SCRIPTS}
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        for script in SCRIPTS.values():
            _create(server, token, script, seconds)
        for number in range(rounds):
            # In pairs that begin with each in turn, because the machine's speed and the database's
            # size change from load to load.
            for how in ("with", "without") if number % 2 else ("without", "with"):
                taken[how].append(_create(server, token, SCRIPTS[how], seconds))
    figures = {
        f"idempotency.create.{how}": statistics.median(found) for how, found in taken.items()
    }
    pairs = zip(taken["with"], taken["without"], strict=True)
    figures["idempotency.create.more"] = statistics.median(more - less for more, less in pairs)
    return figures


def _create(server: Server, token: str, script: str, seconds: float) -> float:
    requests = wrk.Requests(script, token)
    measured = loads.measure(server, requests, connections=CONNECTIONS, seconds=seconds)
    if measured.load.errors or measured.cpu_us is None:
        raise BenchError(f"{script}: not every create succeeded: {measured.load.errors}")
    return measured.cpu_us


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.rounds, arguments.seconds)
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
