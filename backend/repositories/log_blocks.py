"""Finding the ids of logs in a range of time, even if clocks were set back.

The times of logs need not rise with their ids: a clock may be set back, and the clocks of machines
differ. So the first and last time of each block of ids is stored once the block is complete. A
list for a range of time reads the blocks that overlap it, and filters their rows by time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from database.engine import Executor
from database.portable_sql import among

BLOCK: Final = 1000
"""The number of ids in a block. The migration that created the table has the same number."""
MAX_RANGES: Final = 20
"""A search reads this many ranges one by one; the last one contains all remaining ids."""


async def store_blocks(db: Executor, last_id: int, newest: int | None) -> None:
    """Store the times of the blocks after `newest`, the last stored block, and before the block of
    `last_id`, the greatest id."""
    first, end = (newest + 1 if newest is not None else 0), last_id // BLOCK
    if first < end:
        await db.execute(
            "INSERT INTO system_log_blocks"
            " (block, first_at, last_at, first_timestamp, last_timestamp)"
            " SELECT id / ?, min(created_at), max(created_at),"
            " min(coalesce(timestamp, created_at)), max(coalesce(timestamp, created_at))"
            " FROM system_logs WHERE id >= ? AND id < ? GROUP BY 1",
            (BLOCK, first * BLOCK, end * BLOCK),
        )


async def forget_empty_blocks(db: Executor, removed: Sequence[int]) -> None:
    """Delete the records of blocks that have no rows after the rows `removed` were deleted."""
    blocks = sorted({id // BLOCK for id in removed})
    await db.execute(
        f"DELETE FROM system_log_blocks WHERE {among('block', blocks)}"
        " AND NOT EXISTS (SELECT 1 FROM system_logs"
        " WHERE id >= system_log_blocks.block * ? AND id < (system_log_blocks.block + 1) * ?)",
        (*blocks, BLOCK, BLOCK),
    )


@dataclass(frozen=True, slots=True)
class Span:
    """A range of one of the times that logs have."""

    time: str
    """An expression for the time of a log `l`."""
    first: str
    last: str
    """Expressions for the first and the last such time in a block."""
    since: str | None
    until: str | None
    """`since` and `until` are both included; `None` for no bound."""


class IdRanges:
    """The ranges of ids that may contain logs in ranges of time, greatest ids first."""

    def __init__(self, db: Executor, spans: Sequence[Span], below: int) -> None:
        """For logs in all of the `spans`, of which there is one at least, with ids less than
        `below`."""
        self._db = db
        self._overlaps = " AND ".join(f"({s.last} >= ? AND {s.first} <= ?)" for s in spans)
        # These texts sort before and after all times.
        self._bounds = [bound for s in spans for bound in (s.since or "", s.until or "~")]
        self._below = below
        self._begun = False
        self._given = 0

    async def next(self) -> tuple[int, int] | None:
        """The first and the last id of the next range; `None` when no range is left."""
        block = await self._next_block()
        if block is None:
            return None
        last = min(self._below, (block + 1) * BLOCK) - 1 if self._begun else self._below - 1
        self._begun = True
        self._given += 1
        self._below = 0
        if self._given < MAX_RANGES:
            self._below = await self._start(block) * BLOCK
        return self._below, last

    async def _next_block(self) -> int | None:
        """The next block that may contain such logs; `None` when no block is left."""
        if not self._begun:
            row = await self._db.fetch_one("SELECT max(block) AS block FROM system_log_blocks")
            newest = row["block"] if row is not None else None
            following = newest + 1 if newest is not None else 0
            if self._below > following * BLOCK:
                # The times after the last stored block are not known.
                return int(following)
            self._begun = True
        if self._below == 0:
            return None
        row = await self._db.fetch_one(
            "SELECT block FROM system_log_blocks WHERE block <= ?"
            f" AND {self._overlaps} ORDER BY block DESC LIMIT 1",
            ((self._below - 1) // BLOCK, *self._bounds),
        )
        return row["block"] if row is not None else None

    async def _start(self, block: int) -> int:
        """The first block of the range that ends with `block`."""
        row = await self._db.fetch_one(
            "SELECT block FROM system_log_blocks WHERE block < ?"
            f" AND NOT ({self._overlaps}) ORDER BY block DESC LIMIT 1",
            (block, *self._bounds),
        )
        return row["block"] + 1 if row is not None else 0
