"""Use cases for the indexes that searches for projects and runs use."""

from typing import Final

from backend.repositories import Repositories
from backend.repositories.following_index import FollowingIndex, IndexState, Step
from backend.services.base import Kit, UseCases, unit_of_work

ROWS: Final = 250
CHARACTERS: Final = 12_000
"""The rows of a step, and the characters of their texts: whichever ends it first. A step takes
about five milliseconds, in which other writes wait, and up to 20 for one text of 50,000."""


class SearchIndex(UseCases):
    """Lets one index follow its table, in steps. Searches are right whatever it lacks."""

    def __init__(self, kit: Kit, name: str) -> None:
        """The index that `Repositories` has under this name."""
        super().__init__(kit)
        self._name = name

    async def state(self) -> IndexState:
        """How far the index has got."""
        return await self._of(self.repositories).state()

    @unit_of_work
    async def index_next(self, rows: int = ROWS, characters: int = CHARACTERS) -> Step:
        """Index the next rows, within these limits."""
        async with self.transaction() as repositories:
            return await self._of(repositories).index_next(rows, characters)

    @unit_of_work
    async def remove_next(self, rows: int = ROWS, characters: int = CHARACTERS) -> Step:
        """Remove what the index has of rows that were removed, within these limits."""
        async with self.transaction() as repositories:
            return await self._of(repositories).remove_next(rows, characters)

    async def turned_back_to(self) -> int | None:
        """See `FollowingIndex.turned_back_to`."""
        return await self._of(self.repositories).turned_back_to()

    @unit_of_work
    async def go_back(self) -> None:
        """Index new rows again if their ids seem to be indexed."""
        async with self.transaction() as repositories:
            index = self._of(repositories)
            last = await index.turned_back_to()
            if last is not None:
                await index.go_back_to(last)

    @unit_of_work
    async def tidy(self, *, begin: bool) -> bool:
        """Take a step of a round. Returns whether the round goes on."""
        async with self.transaction() as repositories:
            return await self._of(repositories).tidy(begin=begin)

    @unit_of_work
    async def tidied(self, purges: int) -> None:
        """Note the end of a round, before which there were this many purges."""
        async with self.transaction() as repositories:
            await self._of(repositories).tidied(purges)

    def _of(self, repositories: Repositories) -> FollowingIndex:
        index: FollowingIndex = getattr(repositories, self._name)
        return index
