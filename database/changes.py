"""The changes that commits make, and counters for them."""

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

Kind = Literal["insert", "update", "delete"]
Change = tuple[str, Kind]
"""A table, and the kind of change to its rows."""

KINDS: tuple[Kind, ...] = ("insert", "update", "delete")


def any_change(*tables: str) -> list[Change]:
    """Every kind of change to these tables."""
    return [(table, kind) for table in tables for kind in KINDS]


def changes_of_rows(*tables: str) -> list[Change]:
    """Changes to existing rows: updates and deletes, but not inserts."""
    return [(table, kind) for table in tables for kind in ("update", "delete")]


class TableVersion:
    """Counts the commits that change some tables."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    @property
    def version(self) -> int | None:
        """The same number until something changes; `None` during a commit."""
        count = self._count
        return None if count & 1 else count

    def step(self) -> None:
        """Count the start or the end of a commit."""
        self._count += 1

    def follow(self, earlier: "TableVersion") -> None:
        """Count on from where `earlier` is, and a bit further, so that no number comes twice."""
        self._count = (earlier._count | 1) + 1


class HeardVersion(TableVersion):
    """A version that also tells of each commit, successful or not."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        super().__init__()
        self.heard: Callable[[], None] | None = None
        """Called at the end of a commit, on the thread that commits; `None` for nothing."""

    def step(self) -> None:
        """Count the start or the end of a commit, and tell of the end."""
        super().step()
        heard = self.heard
        if heard is not None and self.version is not None:
            heard()


class ChangeCounter(Protocol):
    """The engine's interface for caches and for what follows commits."""

    def counting(
        self, changes: Iterable[Change], version: TableVersion | None = None
    ) -> TableVersion:
        """A version that counts the commits with any of `changes`: `version`, or a new one."""
        ...
