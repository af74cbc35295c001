"""The newest migration of a database, and the newest one of this code."""

from functools import cache

from database.engine import Executor
from database.migrator import load_migrations


async def schema_version(db: Executor) -> int | None:
    """The number of the newest applied migration; `None` before the first."""
    row = await db.fetch_one("SELECT max(version) AS version FROM schema_migrations")
    return row["version"] if row is not None else None


@cache
def newest_schema_version() -> int:
    """The number of this code's newest migration. Reads the files once."""
    return load_migrations()[-1].version
