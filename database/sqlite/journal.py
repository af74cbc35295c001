"""Entries that units of work append, all written just before the COMMIT that they share."""

from collections.abc import Sequence
from typing import Any

from database.engine import WriteEntries
from database.errors import UnitOfWorkError


class Journal:
    """The entries of the transaction that the writer's connection has open.

    Only the code that runs inside that transaction may use it, on whichever thread that is.
    """

    __slots__ = ("_entries", "write_entries")

    def __init__(self, write_entries: WriteEntries | None = None) -> None:
        """`write_entries` may also be set later, but before the first entry is appended."""
        self.write_entries = write_entries
        self._entries: list[Any] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Sequence[Any]:
        """All entries, in their order."""
        return self._entries

    def append(self, entries: Sequence[Any]) -> None:
        """Add entries. Raises `UnitOfWorkError` when there is no function to write them."""
        if self.write_entries is None:
            raise UnitOfWorkError("this database has no function that writes entries")
        self._entries += entries

    def cut(self, length: int) -> None:
        """Drop the entries after the first `length` ones, because their changes are undone."""
        del self._entries[length:]

    def take(self) -> list[Any]:
        """Remove and return all entries."""
        entries, self._entries = self._entries, []
        return entries
