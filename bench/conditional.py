"""What conditional requests cost beside the same requests without a condition, in turns: a kept
answer and the 304 that stands for it, and a change that demands a version; and what creates with an
idempotency key cost."""

from collections.abc import Callable, Iterator
from pathlib import Path

from bench import idempotency, loads, wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.results import Results
from bench.workloads import PROJECTS

Lines = Iterator[tuple[str, ...]]
"""Requests: method, path, body and headers."""


def _reads(client: Client, *, known: bool) -> Lines:
    for number in range(1, PROJECTS + 1):
        path = f"/api/projects/{number}"
        yield "GET", path, "", *_known(client, path, known)


def _lists(client: Client, *, known: bool) -> Lines:
    path = "/api/projects?limit=50"
    yield "GET", path, "", *_known(client, path, known)


def _known(client: Client, path: str, known: bool) -> tuple[str, ...]:
    return (f"If-None-Match: {client.tag(path)}",) if known else ()


def _changes(client: Client, *, known: bool) -> Lines:  # noqa: ARG001 - as the others
    for name in ("first", "second"):
        for number in range(1, PROJECTS + 1):
            # Any version: the present one changes with each request.
            condition = ("If-Match: *",) if known else ()
            yield "PATCH", f"/api/projects/{number}", f'{{"name":"{name}"}}', *condition


KINDS: dict[str, Callable[..., Lines]] = {"read": _reads, "list": _lists, "patch": _changes}
"""The requests of each kind; `known` adds the condition."""
FIGURES = (
    *loads.names([f"conditional.{kind}.{how}" for kind in KINDS for how in ("without", "with")]),
    *idempotency.FIGURES,
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure each kind without a condition and with it, in turns, and then creates with and
    without a key. Raises `BenchError`."""
    _measure_kinds(options, folder, results)
    idempotency.measure(options, folder, results)


def _measure_kinds(options: Options, folder: Path, results: Results) -> None:
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            seed(client)
        for _ in range(options.few_rounds):
            for kind, requests_of in KINDS.items():
                for how in ("without", "with"):
                    file = folder / f"{kind}.{how}.lines"
                    with Client(server.port, token) as client:
                        found = [
                            "\t".join(line) for line in requests_of(client, known=how == "with")
                        ]
                    file.write_text("\n".join(found) + "\n", "utf-8")
                    requests = wrk.Requests("lines", token, lines=file)
                    loads.add(
                        f"conditional.{kind}.{how}",
                        server,
                        requests,
                        options,
                        results,
                        connections=CONNECTIONS,
                    )
