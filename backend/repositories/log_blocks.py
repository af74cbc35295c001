"""Ranges of time as ranges of ids, whatever the clocks did.

Times of logs need not rise with their ids: a clock may be set back, and those of several machines
differ. So each block of ids has its first and last time noted, once it has all the rows that it
will ever have. A list of a range of time goes through the blocks that overlap it, and holds each
row to the range itself.
"""

from collections.abc import Sequence
from typing import Final

from database.engine import Executor
from database.portable_sql import among

BLOCK: Final = 1000
"""Ids of a block; the migration that made the table has the same number."""
MAX_RANGES: Final = 20
"""A search looks at so many ranges one by one, and then at all that is left."""


async def note_blocks(db: Executor, last_id: int, noted: int | None) -> None:
    """Note the times of all blocks behind the block `noted`, the last one that is, and before the
    one that has `last_id`, the greatest id there is."""
    first, end = (noted + 1 if noted is not None else 0), last_id // BLOCK
    if first < end:
        await db.execute(
            "INSERT INTO system_log_blocks (block, first_at, last_at)"
            " SELECT id / ?, min(created_at), max(created_at) FROM system_logs"
            " WHERE id >= ? AND id < ? GROUP BY 1",
            (BLOCK, first * BLOCK, end * BLOCK),
        )


async def forget_empty_blocks(db: Executor, removed: Sequence[int]) -> None:
    """Forget those blocks of rows that were removed that have no row any more."""
    blocks = sorted({id // BLOCK for id in removed})
    await db.execute(
        f"DELETE FROM system_log_blocks WHERE {among('block', blocks)}"
        " AND NOT EXISTS (SELECT 1 FROM system_logs"
        " WHERE id >= system_log_blocks.block * ? AND id < (system_log_blocks.block + 1) * ?)",
        (*blocks, BLOCK, BLOCK),
    )


class IdRanges:
    """The ranges of ids that may have logs of a range of time, the greatest ids first."""

    def __init__(self, db: Executor, since: str | None, until: str | None, below: int) -> None:
        """For logs from `since` to `until`, `None` for no end, with lesser ids than `below`."""
        self._db = db
        # Texts before and behind all times.
        self._since = since or ""
        self._until = until or "~"
        self._below = below
        self._begun = False
        self._given = 0

    async def next(self) -> tuple[int, int] | None:
        """The first and the last id of the next range; `None` when there are no more."""
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
        """The next block that may have such logs."""
        if not self._begun:
            row = await self._db.fetch_one("SELECT max(block) AS block FROM system_log_blocks")
            noted = row["block"] if row is not None else None
            unnoted = noted + 1 if noted is not None else 0
            if self._below > unnoted * BLOCK:
                # What comes behind all blocks is not known.
                return int(unnoted)
            self._begun = True
        if self._below == 0:
            return None
        row = await self._db.fetch_one(
            "SELECT block FROM system_log_blocks WHERE block <= ?"
            " AND last_at >= ? AND first_at <= ? ORDER BY block DESC LIMIT 1",
            ((self._below - 1) // BLOCK, self._since, self._until),
        )
        return row["block"] if row is not None else None

    async def _start(self, block: int) -> int:
        """The block that the range of `block` begins with."""
        row = await self._db.fetch_one(
            "SELECT block FROM system_log_blocks WHERE block < ?"
            " AND (last_at < ? OR first_at > ?) ORDER BY block DESC LIMIT 1",
            (block, self._since, self._until),
        )
        return row["block"] + 1 if row is not None else 0
