"""Answers that are kept as they were sent, so that the edge can send them again.

Agents and front ends mostly repeat earlier requests. A kept answer needs neither a route nor a
query, and is never older than the last commit that a client was told of. Belongs to the event
loop's thread.
"""

import asyncio
from collections.abc import Hashable
from typing import NamedTuple

from starlette.types import Scope

from backend.http.route_policy import Policies
from backend.services.shown import Shown, ShownVersions
from database.changes import TableVersion

MAX_BYTES = 16 * 1024 * 1024
"""The limit for each kind of answer. The oldest answer is dropped first."""
MAX_ANSWERS = 2048
"""The limit for each kind, because requests take memory too, and clients choose them."""
_LARGEST = MAX_BYTES // 16
"""A larger answer is not kept, because it would displace too many others."""

RawHeaders = list[tuple[bytes, bytes]]


Audience = tuple[frozenset[int] | None, bool]
"""The clients that an answer is for: the projects that their tokens may see, `None` for all, and
whether they accept gzip."""


class KeptAnswer(NamedTuple):
    """The answer to a `GET`. Its status is 200."""

    scope: str
    """The scope that a token needs for it."""
    template: str
    """The template of its route."""
    headers: RawHeaders
    """All headers that are the same for every client, in front of those of a single request."""
    last_headers: RawHeaders
    """The same behind them."""
    body: bytes


OFFER = "strongroom.offer"
"""The key in a scope of the `Offer` of its answer."""


class Offer(NamedTuple):
    """What a route tells of an answer that may be kept."""

    shown: Shown
    version: int
    """The version before it was made and after."""
    scope: str
    template: str
    project_ids: frozenset[int] | None


Audiences = dict[Audience, KeptAnswer]


class KeptAnswers:
    """The answers of one application, by the request's path and query and by audience."""

    def __init__(self, policies: Policies) -> None:
        """`policies` tell which routes have answers to keep, and what they show."""
        self._kinds = {
            policy.shows: _Kind() for policy in policies.values() if policy.shows is not None
        }
        self._all = tuple(self._kinds.values())
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, versions: ShownVersions) -> None:
        """Begin to keep the answers of this event loop, with the versions of one installation."""
        self._loop = asyncio.get_running_loop()
        for shown, kind in self._kinds.items():
            kind.follow(versions[shown])

    def stop(self) -> None:
        """Drop all answers and keep no more."""
        self._loop = None
        for kind in self._all:
            kind.follow(None)

    def find(self, scope: Scope) -> Audiences | None:
        """The valid answers to a `GET` of the path and the query in `scope`; `None` when there is
        none."""
        if self._loop is None or self._loop is not asyncio.get_running_loop():
            return None
        asked = (scope["path"], scope["query_string"])
        for kind in self._all:
            found = kind.find(asked)
            if found is not None:
                return found
        return None

    def version(self, shown: Shown) -> int | None:
        """A number that stays the same as long as answers of the kind are valid. `None` while no
        answer may be kept."""
        kind = self._kinds.get(shown)
        return kind.version if kind is not None else None

    def keep(self, scope: Scope, audience: Audience, offer: Offer, answer: KeptAnswer) -> None:
        """Keep an answer to the request in `scope`."""
        # Below another path, the same path may name something else.
        if self._loop is not None and not scope.get("root_path"):
            asked = (scope["path"], scope["query_string"])
            self._kinds[offer.shown].keep(offer.version, asked, audience, answer)

    def __len__(self) -> int:
        return sum(len(kind) for kind in self._all)


class _Kind:
    """The answers that are valid until the same tables change."""

    __slots__ = ("_bytes", "_count", "_current", "_kept", "_valid_at")

    def __init__(self) -> None:
        self._current: TableVersion | None = None
        self._valid_at: int | None = None
        self._kept: dict[Hashable, Audiences] = {}
        self._bytes = 0
        self._count = 0

    def follow(self, current: TableVersion | None) -> None:
        self._current = current
        self._clear(None)

    @property
    def version(self) -> int | None:
        return self._current.version if self._current is not None else None

    def find(self, asked: Hashable) -> Audiences | None:
        found = self._kept.get(asked)
        if found is None or self._current is None:
            return None
        version = self._current.version
        return found if version is not None and version == self._valid_at else None

    def keep(self, version: int, asked: Hashable, audience: Audience, answer: KeptAnswer) -> None:
        if version != self.version:
            return
        if version != self._valid_at:
            self._clear(version)
        if len(answer.body) > _LARGEST:
            return
        audiences = self._kept.setdefault(asked, {})
        if audience in audiences:
            return
        audiences[audience] = answer
        self._bytes += len(answer.body)
        self._count += 1
        while self._bytes > MAX_BYTES or self._count > MAX_ANSWERS:
            dropped = self._kept.pop(next(iter(self._kept)))
            self._bytes -= sum(len(answer.body) for answer in dropped.values())
            self._count -= len(dropped)

    def _clear(self, version: int | None) -> None:
        self._valid_at = version
        self._kept.clear()
        self._bytes = self._count = 0

    def __len__(self) -> int:
        return self._count
