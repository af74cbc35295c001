"""The space that a database file takes, and freeing unused space.

Removed rows leave free pages, which new rows use first. The file itself shrinks only when it is
rewritten. Call these functions on the connection's thread, outside a transaction.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from database.sqlite.statements import control, fetch_one


@dataclass(frozen=True, slots=True)
class Space:
    """Sizes in bytes."""

    file: int
    """The size of the database file after the next complete checkpoint."""
    free: int
    """The part of it that is free for new rows."""


def space(connection: sqlite3.Connection) -> Space:
    """The space that the file takes."""
    sizes = {
        name: _number(connection, f"PRAGMA {name}")
        for name in ("page_size", "page_count", "freelist_count")
    }
    return Space(
        file=sizes["page_count"] * sizes["page_size"],
        free=sizes["freelist_count"] * sizes["page_size"],
    )


LEAST_ROOM_BYTES = 1024 * 1024
"""A disk with less space counts as full, because writes fail now or soon."""


def disk_problem(path: Path) -> str | None:
    """Why the file system of `path` refuses writes: `full` or `read-only`; `None` when it accepts
    them, or when that is unknown."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    if status.f_flag & os.ST_RDONLY:
        return "read-only"
    return "full" if status.f_bavail * status.f_frsize < LEAST_ROOM_BYTES else None


def compact(connection: sqlite3.Connection) -> None:
    """Rewrite the file without free pages. Temporarily needs as much disk space again.

    Other writers wait until it is done. Raises `DatabaseFull`, and leaves the file unchanged, when
    the disk has too little space.
    """
    control(connection, "VACUUM")
    # The new content is in the log until a checkpoint copies it.
    control(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def _number(connection: sqlite3.Connection, sql: str) -> int:
    row = fetch_one(connection, sql, ())
    return int(row[0]) if row is not None else 0
