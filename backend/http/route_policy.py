"""What holds for a route whatever its endpoint does: one row each, beside its resource's routes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from models import Scope

OPEN: Final = None
"""In the place of a scope: the route needs no token."""


class Queue(StrEnum):
    """Where requests wait for a slot."""

    READING = "reading"
    """For what waits for no COMMIT, however slow the disk is."""
    WRITING = "writing"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """A row: what `GuardedRoute`, the edge and the OpenAPI document know of a route."""

    scope: Scope | None
    """What a token must have; `OPEN` when none is needed."""
    queue: Queue | None
    """Where the request waits for a slot; `None` when it needs none, or takes one by itself."""
    body_limit: int = 0
    """The bytes that a body may have where that is more than the installation's limit."""
    is_streamed: bool = False
    """The answer goes on after the slot was given back, and breaks off when the token ends."""
    is_open_on_loopback: bool = False
    """Needs no token outside production where only this machine reaches the service."""
    is_probe: bool = False
    """Load balancers and orchestrators ask an address for it, and add to the query what they like:
    the query is ignored, and every `Host` is answered."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an open route with a queue, which shares slots between tokens."""
        if self.scope is OPEN and self.queue is not None:
            raise ValueError("a route without a scope can't wait in a queue")


Policies = Mapping[tuple[str, str], RoutePolicy]
"""Rows by method and path template."""


def reads(scope: Scope, *, is_streamed: bool = False) -> RoutePolicy:
    """The row of a route that changes and records nothing."""
    return RoutePolicy(scope=scope, queue=Queue.READING, is_streamed=is_streamed)


def writes(scope: Scope) -> RoutePolicy:
    """The row of a route that waits for a COMMIT."""
    return RoutePolicy(scope=scope, queue=Queue.WRITING)


def without_token(*, is_probe: bool = False, body_limit: int = 0) -> RoutePolicy:
    """The row of a route that needs no token."""
    return RoutePolicy(scope=OPEN, queue=None, is_probe=is_probe, body_limit=body_limit)


def paths_of(template: str) -> re.Pattern[str]:
    """What matches the paths of a template with names in braces."""
    return re.compile(re.sub(r"\{[^}]*\}", "[^/]+", template))


class BodyLimits:
    """The routes that take larger bodies than the others."""

    def __init__(self, policies: Policies) -> None:
        self._limits = [
            (method, paths_of(template), policy.body_limit)
            for (method, template), policy in policies.items()
            if policy.body_limit
        ]

    def of(self, method: str, path: str) -> int:
        """The bytes that this route takes by a rule of its own; 0 when it has none."""
        for own_method, paths, limit in self._limits:
            if method == own_method and paths.fullmatch(path):
                return limit
        return 0
