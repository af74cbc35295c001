"""The table of costs: parts that add up to the whole."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.costs.meter import Cost

OTHERS = "other threads"
REST = "rest (the difference)"
WHOLE = "whole"
WITH_PROBES = "whole, with the probes"
SMALLEST_US = 0.05
"""A smaller part is left out, and is in the rest."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a load cost a server with probes, in microseconds for each request."""

    whole: float
    parts: Mapping[str, float]
    """They add up to the whole."""
    probes: Mapping[str, float]
    """How much of each part the probes cost, as measured when nothing else ran."""


def spent(
    before: Mapping[str, Any], after: Mapping[str, Any], costs: Mapping[str, Cost], requests: int
) -> Spent:
    """The difference of two snapshots."""
    parts: Counter[str] = Counter(after["spent"])
    parts.subtract(before["spent"])
    whole = after["process"] - before["process"]
    parts[OTHERS] = whole - sum(parts.values())
    entered = _entered(after)
    entered.subtract(_entered(before))
    probes: dict[str, float] = {}
    for (around, part, kind), times in entered.items():
        probes[part] = probes.get(part, 0.0) + times * costs[kind].inside
        probes[around] = probes.get(around, 0.0) + times * costs[kind].around
    return Spent(
        whole / requests / 1000,
        {part: value / requests / 1000 for part, value in parts.items()},
        {part: value / requests / 1000 for part, value in probes.items()},
    )


def _entered(snapshot: Mapping[str, Any]) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for around, part, kind, times in snapshot["entered"]:
        found[around, part, kind] += times
    return found


def add_up(once: Spent, whole_twice: float, whole: float) -> dict[str, float]:
    """The parts without the cost of the probes, the rest, and the whole of a server without probes.

    Under load a probe costs more than alone. How much more is told by `whole_twice`, the whole of a
    server with each probe twice. So nothing of the parts is derived from `whole`: the rest is what
    they miss of it, or have too much.
    """
    alone = sum(once.probes.values())
    factor = max(0.0, whole_twice - once.whole) / alone if alone else 0.0
    parts = {
        part: value - factor * once.probes.get(part, 0.0) for part, value in once.parts.items()
    }
    shown = {part: value for part, value in parts.items() if abs(value) >= SMALLEST_US}
    rest = whole - sum(shown.values())
    return {**shown, REST: rest, WHOLE: whole, WITH_PROBES: once.whole}
