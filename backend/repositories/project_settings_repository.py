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

    async def add(self, project_id: int, data: Mapping[str, Any]) -> None:
        """Insert the settings of a project that has none: `data`, and defaults for the rest."""
        now = self.now()
        columns = self.columns({**data, "project_id": project_id})
        await self.db.execute(
            f"INSERT INTO project_settings ({', '.join(columns)}, created_at, updated_at)"
            f" VALUES ({'?, ' * len(columns)}?, ?)",
            (*columns.values(), now, now),
        )

    async def upsert(self, project_id: int, data: Mapping[str, Any]) -> ProjectSettings:
        """Set the columns in `data` and leave the others. Creates the row if the project has none.

        Raises `ForeignKeyViolation` when the project does not exist.
        """
        changed = await self.change_where(Sql("project_id = ?", (project_id,)), data)
        if changed:
            return changed[0]
        return await self.create({**data, "project_id": project_id})
