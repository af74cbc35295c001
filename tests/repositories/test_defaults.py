"""What repositories know about the columns that an INSERT leaves out."""

import ast

from backend.repositories import Repositories
from database.base import BaseRepository
from database.connection_manager import DatabaseManager


def test_the_defaults_of_every_table_are_those_of_the_schema(
    manager: DatabaseManager, repositories: Repositories
) -> None:
    found = {
        repository.table_name: dict(repository.defaults)
        for repository in repositories.roots.values()
        if isinstance(repository, BaseRepository)
    }
    assert found
    assert found == {table: _declared(manager, table) for table in found}


def _declared(manager: DatabaseManager, table: str) -> dict[str, object]:
    """The columns that may be left out, with the values that they then have."""
    return {
        column["name"]: ast.literal_eval(column["dflt_value"] or "None")
        for column in manager.execute_query(f"PRAGMA table_info({table})")
        if not column["pk"] and (column["dflt_value"] is not None or not column["notnull"])
    }
