"""The policy of each route: one row, which stands next to the routes of its resource."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backend.services.shown import Shown
from models import Scope

__all__ = [
    "OPEN",
    "BodyLimits",
    "Policies",
    "Queue",
    "RoutePolicy",
    "Shown",
    "paths_of",
    "reads",
    "without_token",
    "writes",
]

OPEN: Final = None
"""Used instead of a scope when the route needs no token."""


class Queue(StrEnum):
    """The queues in which requests wait for a slot."""

    READING = "reading"
    """For requests that never wait for a COMMIT, so that a slow disk does not delay them."""
    WRITING = "writing"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """The row of a route, which `GuardedRoute`, the edge and the OpenAPI document use."""

    scope: Scope | None
    """The scope that a token must have; `OPEN` when the route needs no token."""
    queue: Queue | None
    """Where the request waits for a slot; `None` when it needs none, or its endpoint takes one."""
    body_limit: int = 0
    """The largest body in bytes, if that is more than the installation's limit."""
    is_streamed: bool = False
    """The answer continues after the slot was given back, and breaks off when the token ends."""
    shows: Shown | None = None
    """What the route's answers show, if they are kept until that changes. They must follow from the
    path, the query and the projects that the token may see, and from nothing else."""
    is_open_on_loopback: bool = False
    """The route needs no token outside production if only this machine reaches the service."""
    is_probe: bool = False
    """Load balancers and orchestrators call the route by address, and may add any query: the query
    is ignored, and every `Host` is answered."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an open route with a queue, since queues share slots by token,
        and for a route that keeps answers without being an ordinary reading one."""
        if self.scope is OPEN and self.queue is not None:
            raise ValueError("a route without a scope can't wait in a queue")
        if self.shows is not None and (
            self.queue is not Queue.READING or self.is_streamed or self.is_open_on_loopback
        ):
            raise ValueError("only a route that reads with a token can have its answers kept")


Policies = Mapping[tuple[str, str], RoutePolicy]
"""The rows of routes, by method and path template."""


def reads(scope: Scope, *, is_streamed: bool = False, shows: Shown | None = None) -> RoutePolicy:
    """The row of a route that only reads."""
    return RoutePolicy(scope=scope, queue=Queue.READING, is_streamed=is_streamed, shows=shows)


def writes(scope: Scope) -> RoutePolicy:
    """The row of a route that waits for a COMMIT."""
    return RoutePolicy(scope=scope, queue=Queue.WRITING)


def without_token(*, is_probe: bool = False, body_limit: int = 0) -> RoutePolicy:
    """The row of a route that needs no token."""
    return RoutePolicy(scope=OPEN, queue=None, is_probe=is_probe, body_limit=body_limit)


def paths_of(template: str) -> re.Pattern[str]:
    """A pattern for the paths of a template with names in braces."""
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{[^}]*\}", template))))


class BodyLimits:
    """The limits of the routes that accept larger bodies than the others."""

    def __init__(self, policies: Policies) -> None:
        self._limits = [
            (method, paths_of(template), policy.body_limit)
            for (method, template), policy in policies.items()
            if policy.body_limit
        ]

    def of(self, method: str, path: str) -> int:
        """The route's own limit in bytes; 0 when it has none."""
        for own_method, paths, limit in self._limits:
            if method == own_method and paths.fullmatch(path):
                return limit
        return 0
