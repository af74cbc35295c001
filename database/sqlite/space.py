"""How much room a database file takes, and giving back what it does not need.

Removed rows leave free pages, which new rows use first; the file itself only shrinks when it is
written anew. Functions for a connection, on its thread, outside a transaction.
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
    """The database file, with what the write-ahead log will add to it."""
    free: int
    """What of it is free for new rows."""


def space(connection: sqlite3.Connection) -> Space:
    """The room that the file takes."""
    sizes = {
        name: _number(connection, f"PRAGMA {name}")
        for name in ("page_size", "page_count", "freelist_count")
    }
    return Space(
        file=sizes["page_count"] * sizes["page_size"],
        free=sizes["freelist_count"] * sizes["page_size"],
    )


LEAST_ROOM_BYTES = 1024 * 1024
"""A disk with less room than that is full: writes are about to fail, if they do not yet."""


def disk_problem(path: Path) -> str | None:
    """Why the file system of `path` takes no writes: `full` or `read-only`; `None` when it does, or
    can't be asked."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    if status.f_flag & os.ST_RDONLY:
        return "read-only"
    return "full" if status.f_bavail * status.f_frsize < LEAST_ROOM_BYTES else None


def compact(connection: sqlite3.Connection) -> None:
    """Write the file anew without free pages. It needs as much room again on the disk meanwhile.

    Nobody else can write until it is done. Raises `DatabaseFull` when the disk has no room: the
    file is as before then.
    """
    control(connection, "VACUUM")
    # The new file is in the log until it is copied.
    control(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def _number(connection: sqlite3.Connection, sql: str) -> int:
    row = fetch_one(connection, sql, ())
    return int(row[0]) if row is not None else 0
