"""A goal, a figure, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


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

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures that it needs."""
        return (self.figure,) if self.over is None else (self.figure, self.over)

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
