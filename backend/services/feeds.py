"""Feeds: what clients follow as it grows, such as the record of changes and the logs.

A feed has entries with rising ids. It reads them from the database, and tells when there are more.
`backend.http.streams` sends them to clients.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

Wanted = TypeVar("Wanted")

Heard = Callable[[Any], None]
"""Called after a commit, on any thread, with what `Feed.committed` makes entries of."""


class Entry(NamedTuple):
    """An entry of a feed."""

    id: int
    json: Callable[[], str]
    """Makes the JSON object that clients get, in one line. Not called if no client wants it."""
    traits: Any
    """What `Feed.admits` looks at."""


class Extent(NamedTuple):
    """Which entries a feed has."""

    epoch: int
    """Ids of different epochs can't be compared: a restored database gives its ids out again."""
    removed_id: int
    """Entries up to this id may have been removed for their age or number; 0 when none was."""
    last_id: int
    """The id of the newest entry; 0 when there is none."""


class Part(NamedTuple):
    """Entries that follow one another."""

    entries: Sequence[Entry]
    is_last: bool
    """Whether there were no more."""


class Feed(Protocol[Wanted]):
    """Something that grows, seen by clients that want different parts of it.

    What a client wants is a hashable value, so that clients that want the same share their bytes.
    It includes what the client may see.
    """

    @property
    def name(self) -> str:
        """The label in metrics."""
        ...

    async def extent(self) -> Extent:
        """Which entries there are now. Raises `DatabaseError`."""
        ...

    async def following(
        self, wanted: Wanted | None, after_id: int, until_id: int | None, limit: int
    ) -> Part:
        """Up to `limit` wanted entries after `after_id`, up to `until_id`, in the order of their
        ids; any entries without `wanted`. Fewer if they are large. Raises `DatabaseError`."""
        ...

    def admits(self, wanted: Wanted, entry: Entry) -> bool:
        """Whether the entry is wanted."""
        ...

    def listen(self, heard: Heard | None) -> None:
        """Call `heard` after each commit with new entries, or stop calling it."""
        ...

    def committed(self, told: Any) -> Sequence[Entry] | None:
        """All entries of the commit that `heard` was told of, in the order of their ids, which rise
        by one from the newest entry before; `None` if the entries have to be read."""
        ...

    @property
    def removals(self) -> int | None:
        """Rises whenever something that clients follow may have been removed as a whole, such as a
        run with its messages; `None` while that is being committed."""
        ...

    async def removed(self, wanted: Collection[Wanted]) -> Collection[Wanted]:
        """Which of these clients wait for nothing, since what they follow was removed. Raises
        `DatabaseError`."""
        ...
