"""Commands of FTS5 that every kind of full-text index needs."""

from database.engine import Executor
from database.errors import DatabaseCorrupt

MERGE_PAGES = 64
"""The most pages that one `merge` writes, in about ten milliseconds. It may read many more if most
of their entries were removed."""


async def merge(db: Executor, name: str, *, begin: bool) -> bool:
    """Rebuild a part of the index, which frees the space that removed rows take. Returns whether
    more is left. The first call of a round must set `begin`."""
    before = await _changes(db)
    pages = -MERGE_PAGES if begin else MERGE_PAGES
    await db.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('merge', ?)", (pages,))
    # FTS5 documents that a difference below two means that nothing was done.
    return await _changes(db) - before >= 2


async def agrees(db: Executor, name: str) -> bool:
    """Whether the index matches its rows exactly. Reads all of both."""
    try:
        await db.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)")
    except DatabaseCorrupt:
        return False
    return True


async def _changes(db: Executor) -> int:
    row = await db.fetch_one("SELECT total_changes()")
    return int(row[0]) if row is not None else 0
