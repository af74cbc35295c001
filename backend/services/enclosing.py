"""Units of work that enclose a whole call of an endpoint: what the code inside may ask of them."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

from database.engine import Call

RunsAsOne = Callable[[Sequence[Call]], Awaitable[Sequence[Any]]]


class Enclosure:
    """The unit of work around a call, which a use case inside it finds in `enclosure`."""

    __slots__ = ("has_stepped", "on_failure", "since")

    def __init__(self, since: datetime) -> None:
        self.since = since
        """When the unit was asked for, before it waited for the writer."""
        self.has_stepped = False
        """Whether a step of `StepFirst` has been made for this call."""
        self.on_failure: Callable[[], None] | None = None
        """Called on the event loop if the database fails the unit, also in its COMMIT."""


enclosure: Final[ContextVar[Enclosure | None]] = ContextVar("strongroom_enclosure", default=None)
"""The unit around the running call; `None` if its use cases make their own units."""


class StepFirst(Exception):
    """A call can't be made before a step that is a unit of its own. It has changed nothing. `step`
    is to be awaited outside of any unit; then the call is made again, with `has_stepped` set."""

    def __init__(self, step: Callable[[], Awaitable[object]]) -> None:
        super().__init__("a step must be made in a unit of its own first")
        self.step = step


class Joining:
    """Awaited by a use case inside a call that may run together with others: the code that
    drives the calls sends the result."""

    __slots__ = ("arguments", "together")

    def __init__(self, together: RunsAsOne | None, arguments: tuple[Any, ...]) -> None:
        self.together = together
        """Runs such use cases as one; `None` if this one always runs on its own."""
        self.arguments = arguments

    def __await__(self) -> Generator["Joining", Any, Any]:
        return (yield self)


joins_others: Final[ContextVar[bool]] = ContextVar("strongroom_joins_others", default=False)
"""Whether the running call awaits a `Joining` instead of running its first use case itself."""
