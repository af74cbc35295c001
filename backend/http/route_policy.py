"""The policy of each route: one row, which stands next to the routes of its resource."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from backend.services.shown import Shown
from models import Scope

__all__ = [
    "ANY_TOKEN",
    "OPEN",
    "AnyToken",
    "BodyLimits",
    "Idempotent",
    "Inclusion",
    "Lines",
    "OtherBody",
    "Policies",
    "Queue",
    "RoutePolicy",
    "Shown",
    "media_type_of",
    "paths_of",
    "reads",
    "without_token",
    "writes",
]

OPEN: Final = None
"""Used instead of a scope when the route needs no token."""


class AnyToken(StrEnum):
    """The type of `ANY_TOKEN`."""

    ANY = "any"


ANY_TOKEN: Final = AnyToken.ANY
"""Used instead of a scope when every valid token may make the call."""


class Queue(StrEnum):
    """The queues in which requests wait for a slot."""

    READING = "reading"
    """For requests that never wait for a COMMIT, so that a slow disk does not delay them."""
    WRITING = "writing"
    FILES = "files"
    """For bodies that are not JSON, before they are read."""


class Idempotent(StrEnum):
    """How a POST with an `Idempotency-Key` has its effect only once."""

    WITH_EFFECT = "with effect"
    """The whole call is one unit of work, which stores the answer too."""
    AFTERWARDS = "afterwards"
    """The effect is not one transaction, and does no harm if it happens twice. The answer is stored
    right after it was made."""


@dataclass(frozen=True, slots=True)
class Lines:
    """How a route takes a body with a value on each line (NDJSON)."""

    member: str
    """The member of the JSON body that has the values in an array."""
    most: int
    """More lines than this are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherBody:
    """A body that a route takes besides JSON."""

    media_types: tuple[str, ...]
    """In small letters."""
    limit: int
    """The largest such body in bytes, whatever the installation's limit for JSON is."""
    read: Callable[[bytes, Mapping[str, str]], Any]
    """Reads a body, with the values of the query that nothing has checked yet. Runs on a thread,
    and raises `StrongroomError`."""


def media_type_of(content_type: bytes) -> str:
    """The media type in a `Content-Type`, in small letters and without parameters."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """What a value of the parameter `include` adds to the answers of a route."""

    scope: Scope
    """The scope that the token needs besides the route's."""
    shows: Shown
    """What the answers show with it, if they are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """The row of a route, which `GuardedRoute`, the edge and the OpenAPI document use."""

    scope: Scope | AnyToken | None
    """The scope that a token must have; `ANY_TOKEN` when it needs none, `OPEN` when the route needs
    no token."""
    queue: Queue | None
    """Where the request waits for a slot; `None` when it needs none, or its endpoint takes one."""
    body_limit: int = 0
    """The largest body in bytes, if that is more than the installation's limit."""
    lines: Lines | None = None
    """The body may also be NDJSON, and compressed with gzip."""
    other_body: OtherBody | None = None
    """What the route takes besides JSON."""
    is_streamed: bool = False
    """The answer continues after the slot was given back, and breaks off when the token ends."""
    shows: Shown | None = None
    """What the route's answers show, if they are kept until that changes. They must follow from the
    path, the query and the projects that the token may see, and from nothing else."""
    includes: Mapping[str, Inclusion] = field(default_factory=dict)
    """The values of the parameter `include`."""
    is_slow: bool = False
    """The request may read much, as an export or a comparison does: its reads are done by readers
    of their own, so that other reads do not wait for them."""
    slow_with: tuple[str, ...] = ()
    """The parameters of the query with which the same holds, such as that of a search. A large page
    of any list counts as slow too."""
    or_scopes: tuple[Scope, ...] = ()
    """Each of these scopes is enough as well. What the answer shows depends on the scopes."""
    follows: bool = False
    """With `Accept: text/event-stream`, the answer is a stream of what its list shows."""
    is_open_on_loopback: bool = False
    """The route needs no token outside production if only this machine reaches the service."""
    is_conditional: bool = True
    """Answers that are a versioned resource or a list have an `ETag`, and changes of versioned
    resources take preconditions (`backend.http.conditional`). False where a client that compares
    would gain nothing."""
    idempotent: Idempotent | None = Idempotent.WITH_EFFECT
    """What an `Idempotency-Key` does, if the route is a POST that needs a token; `None` if the
    header is ignored."""
    may_change: bool = False
    """Besides making something, the route may change the versioned resource that the path names, so
    it takes preconditions on that."""
    claims: bool = False
    """The route gives away what is there, and answers 204 if there is nothing: with
    `Prefer: wait=N` it waits until there is something."""
    is_probe: bool = False
    """Load balancers and orchestrators call the route by address, and may add any query: the query
    is ignored, and every `Host` is answered."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an open route with a queue, since queues share slots by token,
        and for a route that keeps answers without being an ordinary reading one with a scope."""
        if self.scope is OPEN and self.queue is not None:
            raise ValueError("a route without a scope can't wait in a queue")
        if self.shows is not None and (
            self.scope is ANY_TOKEN
            or self.queue is not Queue.READING
            or self.is_streamed
            or self.follows
            or self.or_scopes
            or self.is_open_on_loopback
        ):
            raise ValueError("only a route that reads with a token can have its answers kept")

    @property
    def kept(self) -> frozenset[Shown]:
        """What the answers that are kept show: nothing if none are."""
        if self.shows is None:
            return frozenset()
        return frozenset({self.shows, *(included.shows for included in self.includes.values())})

    def inclusion(self, query: Mapping[str, str]) -> Inclusion | None:
        """What a request with this query asks for besides the answer itself, or `None`."""
        return self.includes.get(query.get("include", "")) if self.includes else None

    def idempotency(self, method: str) -> Idempotent | None:
        """What an `Idempotency-Key` does on a route with this method; `None` if it is ignored."""
        return self.idempotent if method == "POST" and self.scope is not OPEN else None


Policies = Mapping[tuple[str, str], RoutePolicy]
"""The rows of routes, by method and path template."""


def reads(
    scope: Scope | AnyToken,
    *,
    is_streamed: bool = False,
    shows: Shown | None = None,
    includes: Mapping[str, Inclusion] | None = None,
    is_slow: bool = False,
    slow_with: tuple[str, ...] = (),
    or_scopes: tuple[Scope, ...] = (),
    follows: bool = False,
    is_conditional: bool = True,
) -> RoutePolicy:
    """The row of a route that only reads."""
    return RoutePolicy(
        scope=scope,
        queue=Queue.READING,
        is_streamed=is_streamed,
        shows=shows,
        includes=includes or {},
        is_slow=is_slow,
        slow_with=slow_with,
        or_scopes=or_scopes,
        follows=follows,
        is_conditional=is_conditional,
    )


def writes(
    scope: Scope | AnyToken,
    *,
    is_conditional: bool = True,
    idempotent: Idempotent | None = Idempotent.WITH_EFFECT,
    lines: Lines | None = None,
    may_change: bool = False,
    claims: bool = False,
    other_body: OtherBody | None = None,
    is_slow: bool = False,
) -> RoutePolicy:
    """The row of a route that waits for a COMMIT."""
    return RoutePolicy(
        scope=scope,
        queue=Queue.WRITING,
        is_conditional=is_conditional,
        idempotent=idempotent,
        lines=lines,
        may_change=may_change,
        claims=claims,
        other_body=other_body,
        is_slow=is_slow,
    )


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
            (method, paths_of(template), policy)
            for (method, template), policy in policies.items()
            if policy.body_limit or policy.other_body
        ]

    def of(self, method: str, path: str, content_type: bytes = b"") -> int:
        """The route's own limit in bytes for a body of this type; 0 when it has none."""
        for own_method, paths, policy in self._limits:
            if method == own_method and paths.fullmatch(path):
                other = policy.other_body
                if other is not None and media_type_of(content_type) in other.media_types:
                    return other.limit
                return policy.body_limit
        return 0
