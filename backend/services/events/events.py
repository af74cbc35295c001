"""Events: the record of changes, as clients with different scopes see it."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_json

from backend.errors import BadRequest
from backend.repositories.audit_repository import AuditRow
from backend.repositories.events_repository import EventFilter
from backend.schemas.events import Event, EventList
from backend.services.base import Kit, UseCases
from backend.services.feeds import Entry, Extent, Heard, Part
from backend.services.kinds import Kind
from backend.services.places import Place
from backend.services.principal import current_principal

_IN_RECORD, _IN_URLS = "agent_runs/", "agent-runs/"
_RESULTS_IN_RECORD, _RESULTS_IN_URLS = "/test_results", "/test-results"


@dataclass(frozen=True, slots=True)
class WantedEvents:
    """The events that a client wants and may see; `None` for all."""

    kinds: frozenset[str] | None = None
    project_ids: frozenset[int] | None = None
    target: str | None = None

    def filter(self) -> EventFilter:
        """The same for a statement."""
        return EventFilter(_sorted(self.kinds), _sorted(self.project_ids), self.target)


class Events(UseCases):
    """Listing events, and following them."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.feed = EventFeed(self)

    def wanted(
        self,
        *,
        kinds: Collection[Kind] = (),
        project_id: int | None = None,
        resource: str | None = None,
    ) -> WantedEvents:
        """The events that the current principal may see, of these kinds, of this project, and
        about this resource."""
        principal = current_principal()
        seen = {kind for kind in Kind if principal.may(kind.scope)}
        shown = seen.intersection(kinds) if kinds else seen
        projects = principal.project_ids
        if project_id is not None:
            projects = frozenset({project_id} if principal.sees(project_id) else ())
        return WantedEvents(
            # All of them need no condition.
            frozenset(kind.value for kind in shown) if len(shown) < len(Kind) else None,
            projects,
            _target_of(resource) if resource is not None else None,
        )

    async def page(
        self,
        wanted: WantedEvents,
        *,
        after: Place | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> EventList:
        """One page of these events after the place `after`, oldest first. Raises `BadCursor`, and
        `BadRequest` for a place in another epoch."""
        listing = self.kit.listing("events", wanted.filter(), after, cursor=cursor)
        extent = await self.feed.extent()
        begin = 0
        if listing.after is not None:
            begin = int(str(listing.after[0]))
        elif after is not None:
            if after.epoch not in (None, extent.epoch):
                raise BadRequest(
                    "the id in after is of another epoch: leave it out to begin at the oldest event"
                )
            begin = after.id
        # Some older entries stay, since guarded rows are compared with them.
        begin = max(begin, extent.removed_id)
        page = await self.repositories.events.following(wanted.filter(), begin, None, limit)
        return listing.answer(
            EventList, page, events=[Event.model_construct(**_members(row)) for row in page.items]
        )


class EventFeed:
    """The record of changes as a feed."""

    name = "events"

    def __init__(self, events: Events) -> None:
        self._events = events
        self._heard: tuple[Heard, ...] = ()

    async def extent(self) -> Extent:
        """Which entries the record has."""
        return Extent(*await self._events.repositories.events.extent())

    async def following(
        self, wanted: WantedEvents | None, after_id: int, until_id: int | None, limit: int
    ) -> Part:
        """See `Feed.following`."""
        filter = wanted.filter() if wanted is not None else EventFilter()
        page = await self._events.repositories.events.following(filter, after_id, until_id, limit)
        return Part([_entry(row) for row in page.items], page.next_position is None)

    def admits(self, wanted: WantedEvents, entry: Entry) -> bool:
        """Whether the event is wanted."""
        kind, project_id, target = entry.traits
        return (
            (wanted.kinds is None or kind in wanted.kinds)
            and (wanted.project_ids is None or project_id in wanted.project_ids)
            and (wanted.target is None or target == wanted.target)
        )

    def listen(self, heard: Heard | None) -> None:
        """Call `heard` with the entries of each commit."""
        recorder, before = self._events.kit.audit, self._heard
        self._heard = (heard,) if heard is not None else ()
        # Others listen to the record as well.
        others = tuple(one for one in recorder.heard if one not in before)
        recorder.heard = (*others, *self._heard)

    def committed(self, told: Any) -> Sequence[Entry]:
        """The events of a commit, from the columns of its entries."""
        return [_entry(AuditRow._make(columns)) for columns in told]

    @property
    def removals(self) -> int:
        """Always 0: the record tells of a removal, and goes on."""
        return 0

    async def removed(self, wanted: Collection[WantedEvents]) -> Collection[WantedEvents]:  # noqa: ARG002
        """Nothing."""
        return ()


def _entry(row: AuditRow) -> Entry:
    return Entry(row.id, partial(_json, row), (row.action, row.project_id, row.target))


def _json(row: AuditRow) -> str:
    return to_json(_members(row)).decode()


def _members(row: AuditRow) -> dict[str, Any]:
    """The members of an event, which has no more of the entry than these."""
    return {
        "id": row.id,
        "at": row.at,
        "kind": row.action,
        "project_id": row.project_id,
        "resource": _resource_of(row.target),
        "version": row.version,
        "actor": row.actor,
        "fields": _names(row.fields),
    }


def _resource_of(target: str) -> str:
    """The path of an entry's target below `/api/`."""
    if not target.startswith(_IN_RECORD):
        return target
    path = _IN_URLS + target.removeprefix(_IN_RECORD)
    if path.endswith(_RESULTS_IN_RECORD):
        path = path.removesuffix(_RESULTS_IN_RECORD) + _RESULTS_IN_URLS
    return path


def _target_of(resource: str) -> str:
    """The target of entries about the resource with this path."""
    if not resource.startswith(_IN_URLS):
        return resource
    target = _IN_RECORD + resource.removeprefix(_IN_URLS)
    if target.endswith(_RESULTS_IN_URLS):
        target = target.removesuffix(_RESULTS_IN_URLS) + _RESULTS_IN_RECORD
    return target


def _names(fields: str) -> list[str]:
    # An entry that was damaged in the file does not hide the others.
    try:
        names = json.loads(fields)
    except (ValueError, RecursionError):
        return []
    is_list = isinstance(names, list) and all(type(name) is str for name in names)
    return names if is_list else []


def _sorted(values: frozenset[Any] | None) -> tuple[Any, ...] | None:
    return tuple(sorted(values)) if values is not None else None
