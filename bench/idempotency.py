"""The cost of an `Idempotency-Key`: creates with one, without, and in an application that knows of
no keys, in turns, as processor time of the server's process."""

from itertools import pairwise
from pathlib import Path

from bench import loads, wrk
from bench.contestants import BY_NAME, KEYLESS
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.processes import BenchError
from bench.results import Results

HOWS = ("none", "without", "with")
FIGURES = (
    *loads.names([f"conditional.create.{how}" for how in HOWS]),
    *(f"conditional.create.{how}.more" for how in HOWS[1:]),
)
PAIRS = 3
"""The pairs of loads in a round: what is measured is a small part of a create."""


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure creates. `without.more` is what a create without a key costs more than one in the
    application that knows of none, and `with.more` what one with a key costs more than without;
    both are of pairs of neighbouring loads. Raises `BenchError`."""
    ours = BY_NAME["strongroom"]
    places = {contestant: folder / contestant.name / "data" for contestant in (ours, KEYLESS)}
    for place in places.values():
        place.parent.mkdir()
    with ours.running(places[ours]) as server, KEYLESS.running(places[KEYLESS]) as keyless:
        token, other = ours.token(places[ours]), KEYLESS.token(places[KEYLESS])
        loaded = {
            "none": (keyless, wrk.Requests("create", other)),
            "without": (server, wrk.Requests("create", token)),
            "with": (server, wrk.Requests("create_with_key", token)),
        }
        for number in range(options.few_rounds * PAIRS):
            cpu: dict[str, float] = {}
            # Each is the first of a pair in its turn, because the machine's speed and the size of
            # the databases change from load to load.
            for how in HOWS[:: 1 if number % 2 else -1]:
                to, requests = loaded[how]
                name = f"conditional.create.{how}"
                found = loads.add(name, to, requests, options, results, connections=CONNECTIONS)
                if found.cpu_us is None:
                    raise BenchError(f"{name}: the processor time is unknown")
                cpu[how] = found.cpu_us
            for less, more in pairwise(HOWS):
                figure = results.figures.setdefault(f"conditional.create.{more}.more", [])
                figure.append(cpu[more] - cpu[less])
