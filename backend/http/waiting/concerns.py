"""Which commits may change the answer to a request that waits.

It is right to wake too many, and wrong to wake too few: only what certainly doesn't concern an
answer is left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backend.http.route_policy import RoutePolicy
from backend.services.commits import Recorded, Unrecorded
from models import Scope

PROJECT: Final = "project_id"
_THINGS: Final[Mapping[str, str]] = {
    "run_id": "agent_runs",
    "snapshot_id": "snapshots",
    "webhook_id": "webhooks",
}
"""Names in paths, and how targets of entries about such a thing begin."""
_NAMES: Final = {thing: name for name, thing in _THINGS.items()}
_MAX_DIGITS = 18

Place = tuple[str, int] | None
"""A name in paths, and the id in its place; `None` for anything."""


@dataclass(frozen=True, slots=True)
class Concern:
    """What the answers to a request show."""

    place: Place
    """The one thing that they are about."""
    ignored: frozenset[Scope]
    """Changes that tokens with these scopes see are not shown."""
    unrecorded: frozenset[Unrecorded]

    def is_touched(self, change: Recorded) -> bool:
        """Whether the answer may differ after this change, which is about the place."""
        return change.kind is None or change.kind.scope not in self.ignored


def concern_of(
    policy: RoutePolicy, template: str, names: Mapping[str, Any], query: Mapping[str, str]
) -> Concern:
    """What the answers of this route show, with these values of the names in its path and this
    query."""
    place: Place = None
    for name in (PROJECT, *_THINGS):
        text = str(names.get(name, ""))
        if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
            place = name, int(text)
    ignored: set[Scope] = set()
    unrecorded = {Unrecorded.RETENTION}
    # These two show the record itself.
    if policy.scope is not Scope.AUDIT_READ and not policy.or_scopes:
        ignored.add(Scope.AUDIT_READ)
        included = policy.inclusion(query)
        if policy.scope is Scope.PROJECTS_READ and included is None:
            ignored.add(Scope.RUNS_READ)
    if policy.scope is Scope.LOGS_READ:
        unrecorded.add(Unrecorded.LOGS)
    if policy.scope is Scope.ADMIN:
        unrecorded.add(Unrecorded.BACKUPS)
    if "/versions" in template:
        unrecorded.add(Unrecorded.VERSIONS)
    return Concern(place, frozenset(ignored), frozenset(unrecorded))


def places_of(change: Recorded) -> Iterator[tuple[str, int | None]]:
    """The places that a change is about, by name: an id, or `None` for all of them."""
    yield PROJECT, change.project_id
    thing, _, rest = change.target.partition("/")
    id = rest.partition("/")[0]
    own = _NAMES.get(thing) if id.isascii() and id.isdigit() else None
    for name in _THINGS:
        # What is about no such thing may concern all: with a project, its runs go.
        yield name, int(id) if name == own else None
