"""The performance goals as one table, and the verdict on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bench.workloads import WORKLOADS

CONNECTIONS = 64
"""The goals apply to this number of connections; the other numbers show how it scales."""

LIMIT_P95_MS = 50.0
"""The only goal that affects the exit status."""


class Relation(Enum):
    """How a figure is compared with its bound."""

    AT_LEAST = "≥"
    AT_MOST = "≤"
    BELOW = "<"

    def holds(self, figure: float, bound: float) -> bool:
        """Whether the figure meets the bound."""
        if self is Relation.AT_LEAST:
            return figure >= bound
        return figure <= bound if self is Relation.AT_MOST else figure < bound


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure, alone or as a ratio, and its bound."""

    title: str
    figure: str
    relation: Relation
    bound: float
    over: str | None = None
    """The figure that it is divided by."""
    unit: str = ""

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """The figure; `None` when it was not measured."""
        value = metrics.get(self.figure)
        if value is None or self.over is None:
            return value
        divisor = metrics.get(self.over)
        return value / divisor if divisor else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and its measured value."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; `None` when it was not measured."""
        if self.value is None:
            return None
        return self.goal.relation.holds(self.value, self.goal.bound)

    @property
    def word(self) -> str:
        """The verdict as a word for the report."""
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def _load(peer: str, workload: str, field: str = "per_second") -> str:
    return f"{peer}.{workload}.{CONNECTIONS}.{field}"


def _ratio(title: str, workload: str, peer: str, bound: float) -> Goal:
    return Goal(
        title,
        _load("strongroom", workload),
        Relation.AT_LEAST,
        bound,
        over=_load(peer, workload),
        unit="x",
    )


GOALS = (
    _ratio("read: share of the ceiling", "read", "ceiling", 0.55),
    _ratio("list of 50: share of the ceiling", "list", "ceiling", 0.50),
    _ratio("create: share of the ceiling", "create", "ceiling", 0.55),
    _ratio("log append: share of the ceiling", "log", "ceiling", 0.55),
    *(
        Goal(
            f"{workload.title}: P99",
            _load("strongroom", workload.name, "p99"),
            Relation.BELOW,
            50.0,
            unit="ms",
        )
        for workload in WORKLOADS
        if workload.is_operation
    ),
    Goal(
        "reads beside a 500 ms query: P99 against the P99 without it",
        _load("strongroom", "read-beside", "p99"),
        Relation.AT_MOST,
        2.0,
        over=_load("strongroom", "read", "p99"),
        unit="x",
    ),
    *(
        _ratio(f"{workload}: times the ordinary pool", workload, "ordinary", 4.0)
        for workload in ("create", "upsert", "log")
    ),
    *(
        _ratio(f"{workload}: times Fastify", workload, "fastify", 1.5)
        for workload in ("create", "upsert", "log")
    ),
    _ratio("list of 50: times Fastify", "list", "fastify", 1.0),
    Goal(
        "the engine alone, 64 waiting writers: share of all writes in one transaction",
        "engine.write.engine",
        Relation.AT_LEAST,
        0.5,
        over="engine.write.one_transaction",
        unit="x",
    ),
    *(
        Goal(
            f"{title}: more with guarded rows than without",
            f"guard.{name}.more",
            Relation.AT_MOST,
            bound,
            unit="µs",
        )
        for title, name, bound in (("create", "create", 25.0), ("unkept reveal", "reveal", 30.0))
    ),
    Goal(
        "page 1,000 of a million runs: cost against page 1",
        "depth.million.page1.per_second",
        Relation.AT_MOST,
        1.2,
        over="depth.million.page1000.per_second",
        unit="x",
    ),
    Goal(
        "page 1 of a million runs: cost against a thousand runs",
        "depth.thousand.page1.per_second",
        Relation.AT_MOST,
        1.3,
        over="depth.million.page1.per_second",
        unit="x",
    ),
    Goal(
        "resident size after 200,000 requests: against 20,000",
        "memory.requests.many.mib",
        Relation.AT_MOST,
        1.05,
        over="memory.requests.few.mib",
        unit="x",
    ),
    Goal(
        "peak memory of an import of 100,000 documents: against 10,000",
        "memory.import.many.mib",
        Relation.AT_MOST,
        1.1,
        over="memory.import.few.mib",
        unit="x",
    ),
)


def verdicts(metrics: Mapping[str, float]) -> list[Verdict]:
    """Every goal with its measured value, in the order of the table."""
    return [Verdict(goal, goal.value(metrics)) for goal in GOALS]


def too_slow(metrics: Mapping[str, float]) -> list[str]:
    """A sentence for each database operation of the API whose P95 is 50 ms or more."""
    operations = {w.title: _load("strongroom", w.name, "p95") for w in WORKLOADS if w.is_operation}
    for size, page in (("a million", "1"), ("a million", "1000"), ("a thousand", "1")):
        key = f"depth.{size.split()[1]}.page{page}.p95"
        operations[f"page {page} of {size} runs"] = key
    return [
        f"{title}: P95 is {metrics[key]:.1f} ms at {CONNECTIONS} connections"
        for title, key in operations.items()
        if metrics.get(key, 0.0) >= LIMIT_P95_MS
    ]
