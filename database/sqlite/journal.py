"""What units of work leave to be written later: entries, all of them just before the COMMIT that
they share, and gathered rows, before anything may read them."""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from database.engine import WriteEntries
from database.errors import UnitOfWorkError

logger = logging.getLogger("strongroom.database")


def nothing_follows() -> None:
    """The default for `on_commit`: do nothing."""


class Journal:
    """The entries and gathered rows of the transaction that the writer's connection has open.

    Only the code that runs inside that transaction may use it, on whichever thread that is.
    """

    __slots__ = (
        "_entries",
        "_gathered",
        "_gathered_by",
        "_has_written",
        "_taken",
        "gathering",
        "number",
        "on_commit",
        "write_entries",
    )

    def __init__(self, write_entries: WriteEntries | None = None) -> None:
        """`write_entries` may also be set later, but before the first entry is appended."""
        self.write_entries = write_entries
        self.on_commit: Callable[[], None] = nothing_follows
        """Called once the entries that `write_entries` wrote are durable, before anyone is
        answered; not when they were rolled back, or when the outcome of the COMMIT is unknown."""
        self.number = 0
        """How many transactions have begun."""
        self._entries: list[Any] = []
        self._has_written = False
        self._gathered: list[Any] = []
        self._gathered_by: WriteEntries | None = None
        self._taken = 0
        self.gathering: Hashable = None
        """The kind of the units that gathered the waiting rows, or may gather the first."""

    def mark(self) -> tuple[int, int]:
        """The present state, for `cut`."""
        return len(self._entries), self._taken + len(self._gathered)

    @property
    def entries(self) -> Sequence[Any]:
        """All entries, in their order."""
        return self._entries

    def begin(self) -> None:
        """Forget the transaction before, which may have been rolled back."""
        self.number += 1
        self._entries.clear()
        self._gathered.clear()
        self._has_written = False

    def append(self, entries: Sequence[Any]) -> None:
        """Add entries. Raises `UnitOfWorkError` when there is no function to write them."""
        if self.write_entries is None:
            raise UnitOfWorkError("this database has no function that writes entries")
        self._entries += entries

    def cut(self, mark: tuple[int, int]) -> None:
        """Drop what was added since the `mark`, because its unit is undone."""
        entries, gathered = mark
        del self._entries[entries:]
        # Rows may have been taken since then; those that wait came later.
        del self._gathered[max(0, gathered - self._taken) :]

    def gather(self, write: WriteEntries, rows: Sequence[Any]) -> int:
        """Add rows for `write`, and return how many wait. The journal must have none for another
        function."""
        self._gathered_by = write
        self._gathered += rows
        return len(self._gathered)

    def takes_gathered(self, write: WriteEntries) -> bool:
        """Whether rows for `write` can be gathered behind those that wait."""
        return not self._gathered or self._gathered_by is write

    def take_gathered(self) -> tuple[WriteEntries | None, list[Any]]:
        """Remove and return the gathered rows, and the function that writes them."""
        rows, self._gathered = self._gathered, []
        self._taken += len(rows)
        return self._gathered_by, rows

    def is_due_before(self, kind: Hashable) -> bool:
        """Whether gathered rows must be written before a unit of this kind runs, which may read
        them: those of other kinds than the units that gathered them."""
        return bool(self._gathered) and kind != self.gathering

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
