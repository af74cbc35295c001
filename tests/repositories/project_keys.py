"""Keys and secrets of projects that are not encrypted, for tests of the rows alone."""

from backend.repositories import Repositories
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.project_secrets_repository import StoredSecret


async def add_key(repositories: Repositories, project_id: int, master_key_id: str) -> int:
    """The id of a new key of the project."""
    id = await repositories.keys.next_project_key_id()
    await repositories.keys.add_project_key(ProjectKey(id, project_id, "wrapped"), master_key_id)
    return id


def as_it_is(stored: StoredSecret) -> StoredSecret:
    """Return the row unchanged."""
    return stored
