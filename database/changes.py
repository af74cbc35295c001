"""What commits change, and counters of it."""

from collections.abc import Iterable
from typing import Literal, Protocol

Kind = Literal["insert", "update", "delete"]
Change = tuple[str, Kind]
"""A table, and what happens to its rows."""

KINDS: tuple[Kind, ...] = ("insert", "update", "delete")


def any_change(*tables: str) -> list[Change]:
    """Every kind of change to these tables."""
    return [(table, kind) for table in tables for kind in KINDS]


def changes_of_rows(*tables: str) -> list[Change]:
    """Changes to rows that are there; new ones are none."""
    return [(table, kind) for table in tables for kind in ("update", "delete")]


class TableVersion:
    """Counts the commits that change some tables."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    @property
    def version(self) -> int | None:
        """The same as long as nothing has changed; `None` while a commit is under way."""
        count = self._count
        return None if count & 1 else count

    def step(self) -> None:
        """Count the beginning of a commit, or its end."""
        self._count += 1


class ChangeCounter(Protocol):
    """What an engine offers to those who keep what they have read."""

    def counting(self, changes: Iterable[Change]) -> TableVersion:
        """A new version that counts the commits with any of `changes`."""
        ...
