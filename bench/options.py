"""The options of a run."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import contestants
from bench.goals import CONNECTIONS
from bench.workloads import WORKLOADS, Workload

SECTIONS = (
    *("tail", "extremes", "neighbour", "kept", "unkept", "conditional", "uses", "bulk"),
    *(
        "logs",
        "redaction",
        "client",
        "engine",
        "guard",
        "depth",
        "search",
        "streams",
        "growth",
        "memory",
        "import",
        "parts",
    ),
)
"""The measurements besides the workloads: see `bench.sections`."""

GROWTH = {"projects": 1_000_000, "runs": 1_000_000, "logs": 1_000_000}

ALL = tuple(workload.name for workload in WORKLOADS) + SECTIONS


@dataclass(frozen=True, slots=True)
class Options:
    """The duration and number of loads, and what is measured."""

    rounds: int
    seconds: float
    warm_up: float
    only: tuple[str, ...]
    peers: tuple[str, ...]
    connections: tuple[int, ...]
    quick: bool
    output: Path | None
    report: Path | None
    work: Path | None
    growth: Mapping[str, int]
    """The rows of each kind in the larger installation of the section `growth`."""

    @property
    def scale(self) -> float:
        """The size of the generated tables and files, as a share of the full size."""
        return 0.02 if self.quick else 1.0

    @property
    def few_rounds(self) -> int:
        """The rounds of sections whose figures vary little."""
        return min(self.rounds, 3)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left out, so that the documentation may show the run."""
        return (
            not self.quick
            and self.rounds >= 3
            and set(self.only) == set(ALL)
            and set(self.peers) == set(contestants.BY_NAME)
            and set(self.connections) >= {1, 16, 64, 256}
        )

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The chosen workloads, in their order."""
        return tuple(w for w in WORKLOADS if w.name in self.only)

    def connections_of(self, workload: Workload) -> tuple[int, ...]:
        """The chosen numbers of connections for a workload."""
        allowed = workload.only_connections
        return tuple(n for n in self.connections if not allowed or n in allowed)

    def connections_in(self, number: int, workload: Workload) -> tuple[int, ...]:
        """The same in a round, counted from 0. Only the first round has numbers of connections
        without goals, because a complete run would take two hours otherwise."""
        chosen = self.connections_of(workload)
        if number == 0 or CONNECTIONS not in self.connections:
            return chosen
        return tuple(n for n in chosen if n == CONNECTIONS)


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(known)}"
            )
        return names

    return parse


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError("give numbers of connections, such as 1,16,64,256")
    return numbers


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line. Exits the program when they are wrong."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, help="how often each load is repeated (5)")
    parser.add_argument("--seconds", type=float, help="how long each load takes (3)")
    parser.add_argument("--warm-up", type=float, help="seconds of each load before it counts (1)")
    parser.add_argument("--only", type=_names(ALL), help=f"some of {','.join(ALL)}")
    parser.add_argument(
        "--peers",
        type=_names(tuple(contestants.BY_NAME)),
        help=f"some of {','.join(contestants.BY_NAME)}",
    )
    parser.add_argument("--connections", type=_numbers, help="how many at once (1,16,64,256)")
    parser.add_argument(
        "--quick", action="store_true", help="one short round of everything: no figure counts"
    )
    parser.add_argument("--output", type=Path, help="folder for table, plot and raw figures")
    for kind, number in GROWTH.items():
        parser.add_argument(
            f"--{kind}", type=int, default=number, help=f"how many in growth ({number:,})"
        )
    parser.add_argument("--report", type=Path, help="write the report of these raw figures again")
    parser.add_argument("--work", type=Path, help="where data is kept meanwhile (/tmp)")
    given = parser.parse_args(arguments)
    quick: bool = given.quick
    return Options(
        rounds=max(1, given.rounds or (1 if quick else 5)),
        seconds=max(1.0, given.seconds or (1.0 if quick else 3.0)),
        warm_up=max(0.0, (0.0 if quick else 1.0) if given.warm_up is None else given.warm_up),
        only=given.only or ALL,
        peers=given.peers or tuple(contestants.BY_NAME),
        connections=given.connections or ((64,) if quick else (1, 16, 64, 256)),
        quick=quick,
        output=given.output,
        report=given.report,
        work=given.work,
        growth={kind: max(1, getattr(given, kind)) for kind in GROWTH},
    )
