"""Entries that units of work append, all written just before the COMMIT that they share."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from database.engine import WriteEntries
from database.errors import UnitOfWorkError

logger = logging.getLogger("strongroom.database")


def nothing_follows() -> None:
    """The default for `on_commit`: do nothing."""


class Journal:
    """The entries of the transaction that the writer's connection has open.

    Only the code that runs inside that transaction may use it, on whichever thread that is.
    """

    __slots__ = ("_entries", "_has_written", "on_commit", "write_entries")

    def __init__(self, write_entries: WriteEntries | None = None) -> None:
        """`write_entries` may also be set later, but before the first entry is appended."""
        self.write_entries = write_entries
        self.on_commit: Callable[[], None] = nothing_follows
        """Called once the entries that `write_entries` wrote are durable, before anyone is
        answered; not when they were rolled back, or when the outcome of the COMMIT is unknown."""
        self._entries: list[Any] = []
        self._has_written = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Sequence[Any]:
        """All entries, in their order."""
        return self._entries

    def begin(self) -> None:
        """Forget the transaction before, which may have been rolled back."""
        self._entries.clear()
        self._has_written = False

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

    def written(self) -> None:
        """Note that the entries of the transaction were written."""
        self._has_written = True

    def committed(self) -> None:
        """Call `on_commit` if the transaction, which is durable now, has entries."""
        if not self._has_written:
            return
        self._has_written = False
        try:
            self.on_commit()
        except Exception:
            # The transaction is committed, and its units must be answered.
            logger.exception("the step that follows a commit failed")
