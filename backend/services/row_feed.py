"""A table to which rows are only added, as a feed."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from backend.errors import BadRequest
from backend.repositories.paging import Page
from backend.services.base import Kit
from backend.services.feeds import Entry, Extent, Heard, Part
from backend.services.listing import Listing
from backend.services.places import Place
from database.changes import HeardVersion
from models import BaseDBModel

Wanted = TypeVar("Wanted")
Wanted_contra = TypeVar("Wanted_contra", contravariant=True)
Row = TypeVar("Row", bound=BaseDBModel)


class Rows(Protocol[Wanted_contra, Row]):
    """The use cases that read the rows of a feed."""

    async def following(
        self, filter: Wanted_contra, after_id: int, until_id: int | None, limit: int
    ) -> Page[Row]:
        """Up to `limit` rows of the filter after the id `after_id` and up to `until_id`, oldest
        first."""
        ...

    async def extent(self) -> Extent:
        """Which rows there are."""
        ...


class RowFeed(ABC, Generic[Wanted, Row]):
    """The rows of a table, in the order of their ids. It is told that there are more, and reads
    them."""

    name: str
    """The label in metrics, and what its entries are called."""
    table: str
    everything: Wanted
    """The filter that wants all rows."""

    def __init__(self, kit: Kit, rows: Rows[Wanted, Row]) -> None:
        self._rows = rows
        self._version = HeardVersion()
        kit.db_manager.async_pool.table_versions.counting([(self.table, "insert")], self._version)

    async def extent(self) -> Extent:
        """Which rows there are."""
        return await self._rows.extent()

    async def following(
        self, wanted: Wanted | None, after_id: int, until_id: int | None, limit: int
    ) -> Part:
        """See `Feed.following`."""
        filter = wanted if wanted is not None else self.everything
        page = await self._rows.following(filter, after_id, until_id, limit)
        entries = [Entry(row.id, row.model_dump_json, self.traits(row)) for row in page.items]
        return Part(entries, page.next_position is None)

    async def begin(self, after: Place, listing: Listing) -> int:
        """The id after which an ascending page of a list begins: behind the listing's cursor, or
        else `after`. Raises `BadRequest` for a place in another epoch."""
        if listing.after is not None:
            return int(str(listing.after[0]))
        if after.epoch is not None and after.epoch != (await self.extent()).epoch:
            raise BadRequest(
                "the id in after_id is of another epoch: send 0 to begin at the oldest of the"
                f" {self.name}"
            )
        return after.id

    def traits(self, row: Row) -> Any:
        """What `admits` looks at: the row, unless a subclass needs more."""
        return row

    @abstractmethod
    def admits(self, wanted: Wanted, entry: Entry) -> bool:
        """Whether the filter would find the row."""

    def listen(self, heard: Heard | None) -> None:
        """Call `heard` after each commit with new rows."""
        self._version.heard = partial(heard, None) if heard is not None else None

    def committed(self, told: Any) -> Sequence[Entry] | None:  # noqa: ARG002 - see `Feed`
        """`None`: rows are read, because what stores them need not know their ids."""
        return None

    @property
    def removals(self) -> int | None:
        """See `Feed.removals`."""
        return 0

    async def removed(self, wanted: Collection[Wanted]) -> Collection[Wanted]:  # noqa: ARG002
        """See `Feed.removed`."""
        return ()
