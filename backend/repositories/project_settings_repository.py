"""The configuration of projects: at most one row for each project."""

from collections.abc import Mapping
from typing import Any

from database.base import BaseRepository, Clock, Sql, utc_now
from database.connection_manager import DatabaseManager
from models import ProjectSettings


class ProjectSettingsRepository(BaseRepository[ProjectSettings]):
    """The table `project_settings`."""

    writable = frozenset(
        {"project_id", "planning_statement", "repository_rules", "setup_commands", "branch_name"}
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(ProjectSettings, "project_settings", db_manager, clock=clock)

    async def get_by_project_id(self, project_id: int) -> ProjectSettings | None:
        """The settings of a project, or `None` when it has the defaults."""
        row = await self.db.fetch_one(
            "SELECT * FROM project_settings WHERE project_id = ?", (project_id,)
        )
        return self.model(row) if row is not None else None

    async def add(self, project_id: int, data: Mapping[str, Any], *, version: int = 1) -> int:
        """Insert the settings of a project that has none: `data`, and defaults for the rest.
        Returns the id of the row."""
        now = self.now()
        columns = self.columns({**data, "project_id": project_id})
        [id] = await self.db.insert(
            f"INSERT INTO project_settings ({', '.join(columns)}, created_at, updated_at, version)"
            f" VALUES ({'?, ' * len(columns)}?, ?, ?)",
            (*columns.values(), now, now, version),
            1,
        )
        return id

    async def remove(self, project_id: int) -> None:
        """Delete the settings of a project, if it has any."""
        await self.db.execute("DELETE FROM project_settings WHERE project_id = ?", (project_id,))

    async def upsert(self, project_id: int, data: Mapping[str, Any]) -> ProjectSettings:
        """Set the columns in `data` and leave the others. Creates the row if the project has none.

        Raises `ForeignKeyViolation` when the project does not exist.
        """
        changed = await self.change_where(Sql("project_id = ?", (project_id,)), data)
        if changed:
            return changed[0]
        return await self.create({**data, "project_id": project_id})
