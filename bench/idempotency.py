"""The cost of an `Idempotency-Key`: creates with one, without, and in an application that knows of
no keys, in turns, as processor time of the server's process. The last two differ by less than two
loads of the same server do, so what a request without a key pays is measured by itself too."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from backend.http.idempotency import with_key_once
from backend.http.request_head import HEADERS
from backend.services.principal import Principal
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
    "conditional.look",
)
LOOKS = 100_000
PAIRS = 3
"""The pairs of loads in a round: what is measured is a small part of a create."""


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure creates. `without.more` is what a create without a key costs more than one in the
    application that knows of none, and `with.more` what one with a key costs more than without;
    both are of pairs of neighbouring loads. Raises `BenchError`."""
    results.figures["conditional.look"] = [_look() for _ in range(options.few_rounds)]
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


def _look() -> float:
    """Microseconds that a request without a key spends on looking for one."""
    # The headers of a create, as the edge has read them.
    names = (b"host", b"authorization", b"content-type", b"content-length")
    request = Request({"type": "http", HEADERS: dict.fromkeys(names, b"")})
    principal = Principal("bench", frozenset())
    looks = with_key_once(_work, _work, route="POST /api/projects", scope="projects:write")
    taken: dict[Any, list[float]] = {_work: [], looks: []}
    for _ in range(9):
        for work, times in taken.items():
            times.append(_timed(work, request, principal))
    # The shortest: whatever else runs only adds to it.
    return min(taken[looks]) - min(taken[_work])


def _timed(work: Callable[..., Any], request: Request, principal: Principal) -> float:
    began = time.process_time()
    for _ in range(LOOKS):
        work(request, principal).close()
    return (time.process_time() - began) / LOOKS * 1_000_000


async def _work(_: Request, __: Principal) -> Response:
    return Response()
