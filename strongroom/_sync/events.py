# Made of strongroom/_async by `make schema`: change it there.
"""All changes, which can be followed."""

from collections.abc import Sequence

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.streams import Stream
from strongroom._values import filters
from strongroom.models import Event, EventList, Kind


class Events(Resource):
    """`client.events`."""

    @operation("listEvents")
    def list(
        self,
        *,
        project_id: int | None = None,
        kind: Kind | Sequence[Kind] | None = None,
        resource: str | None = None,
        after: int | str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Event, EventList]:
        """Events, oldest first: those that the token's scopes and projects show."""
        return Pages(
            self._transport,
            "/api/events",
            filters(
                project_id=project_id,
                kind=kind,
                resource=resource,
                after=after,
                limit=limit,
                cursor=cursor,
            ),
            EventList,
            lambda page: page.events,
        )

    @operation("listEvents")
    def stream(
        self,
        *,
        after: int | str | None = None,
        project_id: int | None = None,
        kind: Kind | Sequence[Kind] | None = None,
        resource: str | None = None,
    ) -> Stream[Event]:
        """Events as they happen: those after this id, 0 for the oldest; by default from now on.
        `for` never ends, and connects again by itself."""
        query = filters(after=after, project_id=project_id, kind=kind, resource=resource)
        return Stream(self._transport, "/api/events", query, Event)
