"""What a claim looked for, and what it got: for those that wait until there is more."""

from contextvars import ContextVar
from typing import Final


class Seeking:
    """A request that claims runs, perhaps several times."""

    __slots__ = ("given", "projects")

    def __init__(self) -> None:
        self.projects: frozenset[int] | None = frozenset()
        """The projects that its last claim looked at; `None` for all."""
        self.given: frozenset[int] = frozenset()
        """The projects of the runs that its last claim got."""


seeking: Final[ContextVar[Seeking | None]] = ContextVar("strongroom_seeking", default=None)
"""The request that the running code claims runs for, if it may wait for some."""
