"""Whether a database has the schema of this program, and nothing beside it."""

from backend.runtime.installation import StartRefused
from database.connection_manager import DatabaseManager
from database.sqlite.integrity import foreign_object


def require_own_schema(manager: DatabaseManager) -> None:
    """See that the file holds no trigger, view or table that the migrations did not make.

    Comes before anything is written, so before a trigger can run. A file that does not exist is
    well. Raises `StartRefused`, naming the first object, and `DatabaseError`.
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
