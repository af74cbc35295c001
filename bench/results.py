"""The results of a run: every round, and the medians for all tables, plots and goals."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FIELDS = (
    "per_second",
    "p50",
    "p95",
    "p99",
    "p999",
    "longest",
    "cpu_seconds",
    "cpu_us",
    "peak_mib",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one load. Latencies in milliseconds."""

    per_second: float
    p50: float
    p95: float
    p99: float
    longest: float | None
    cpu_seconds: float | None
    """User and system time of the server's process during the round. `None`, here and below, if it
    was not measured."""
    cpu_us: float | None
    """The same for each request, in microseconds."""
    peak_mib: float | None
    """The peak of the resident size during the round."""
    p999: float | None = None
    """The latency of all but a thousandth; `None` in files of earlier versions."""


@dataclass(frozen=True, slots=True, order=True)
class LoadKey:
    """Identifies a load."""

    peer: str
    workload: str
    connections: int

    def metric(self, field: str) -> str:
        """The name of the load's metric for a field of `Sample`."""
        return f"{self.peer}.{self.workload}.{self.connections}.{field}"


@dataclass(slots=True)
class Results:
    """The results of a run."""

    command: str = ""
    started: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    loads: dict[LoadKey, list[Sample]] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)
    """Measurements that are not loads of the comparison, by metric: a value for each round."""
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Microseconds of the parts of one request, by kind of request."""
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why."""
    failures: list[str] = field(default_factory=list)
    """Loads in which not every request succeeded."""

    def add(self, key: LoadKey, sample: Sample) -> None:
        """Add one round of a load."""
        self.loads.setdefault(key, []).append(sample)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def median(self, key: LoadKey) -> Sample | None:
        """Each figure's median over the rounds; `None` when the load was not measured."""
        rounds = self.loads.get(key)
        if not rounds:
            return None
        values: dict[str, Any] = {
            name: _median([getattr(sample, name) for sample in rounds]) for name in FIELDS
        }
        return Sample(**values)

    def metrics(self) -> dict[str, float]:
        """The median of every metric by its name: `<peer>.<workload>.<connections>.<field>`, and
        the names in `figures`."""
        found = {name: statistics.median(values) for name, values in self.figures.items()}
        for key in self.loads:
            median = self.median(key)
            if median is not None:
                figures = {key.metric(name): getattr(median, name) for name in FIELDS}
                found.update({k: value for k, value in figures.items() if value is not None})
        return found

    @property
    def rounds(self) -> int:
        """The number of rounds. A load without an answer in some round has fewer."""
        return max((len(rounds) for rounds in self.loads.values()), default=0)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        document = {
            "command": self.command,
            "started": self.started,
            "machine": self.machine,
            "versions": self.versions,
            "loads": [
                {**asdict(key), "rounds": [_rounded(asdict(s)) for s in samples]}
                for key, samples in self.loads.items()
            ],
            "figures": {k: [round(v, 3) for v in values] for k, values in self.figures.items()},
            "parts": {kind: _rounded(parts) for kind, parts in self.parts.items()},
            "notes": self.notes,
            "failures": self.failures,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file from `save`. Raises `OSError`, and `ValueError` or `KeyError` for another
        file."""
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        loads = document.pop("loads")
        results = cls(**document)
        for load in loads:
            samples = [Sample(**values) for values in load.pop("rounds")]
            results.loads[LoadKey(**load)] = samples
        return results


def _median(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in values.items()}
