"""Checks that a database has the schema of this program and nothing else."""

from backend.runtime.installation import StartRefused
from database.connection_manager import DatabaseManager
from database.sqlite.integrity import foreign_object


def require_own_schema(manager: DatabaseManager) -> None:
    """Check that the file has no trigger, view or table that the migrations did not create.

    Must run before anything is written, so that no foreign trigger runs. A missing file passes.
    Raises `StartRefused`, which names the first such object, and `DatabaseError`.
    """
    if not manager.config.path.exists():
        return
    with manager.sync_pool.connection(read_only=True) as connection:
        problem = foreign_object(connection)
    if problem is not None:
        raise StartRefused(
            f"{problem}, so the database was changed outside the service: restore a backup, or "
            "undo the change"
        )
