"""The configuration of projects: at most one row for each project."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from database.base import BaseRepository, Clock, Sql, utc_now
from database.connection_manager import DatabaseManager
from models import ProjectSettings


class Made(NamedTuple):
    """Who makes a version of a configuration, and the names of the fields that it changes, in
    their stored form."""

    actor: str | None
    fields: str | None


_UNKNOWN = Made(None, None)


class ProjectSettingsRepository(BaseRepository[ProjectSettings]):
    """The table `project_settings`."""

    writable = frozenset(
        {"project_id", "planning_statement", "repository_rules", "setup_commands", "branch_name"}
    )
    defaults = MappingProxyType(
        {
            "planning_statement": None,
            "repository_rules": None,
            "setup_commands": None,
            "branch_name": "main",
            "version": 1,
            "actor": None,
            "fields": None,
        }
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

    async def add_to(
        self,
        project_id: int,
        data: Mapping[str, Any],
        *,
        version: int = 1,
        made: Made = _UNKNOWN,
    ) -> dict[str, Any]:
        """Insert the settings of a project that has none: `data`, and defaults for the rest.
        Returns the stored columns."""
        columns = self.columns(data)
        now = self.now()
        columns |= {
            "project_id": project_id,
            "created_at": now,
            "updated_at": now,
            "version": version,
            **made._asdict(),
        }
        return await self.insert(columns)

    async def add_each(
        self, settings: Sequence[tuple[int, Mapping[str, Any], Made]]
    ) -> Sequence[dict[str, Any]]:
        """The same for several projects, each with its id. Each inserts all columns but the id."""
        now = self.now()
        times = {"created_at": now, "updated_at": now}
        return await self.insert_all(
            [
                {
                    **self.defaults,
                    **self.columns(data),
                    "project_id": project_id,
                    **times,
                    "actor": actor,
                    "fields": fields,
                }
                for project_id, data, (actor, fields) in settings
            ]
        )

    async def remove(self, project_id: int) -> None:
        """Delete the settings of a project, if it has any."""
        await self.db.execute("DELETE FROM project_settings WHERE project_id = ?", (project_id,))

    async def upsert(
        self, project_id: int, data: Mapping[str, Any], made: Made = _UNKNOWN
    ) -> ProjectSettings:
        """Set the columns in `data` and leave the others. Creates the row if the project has none.

        Raises `ForeignKeyViolation` when the project does not exist.
        """
        changed = await self.change_where(
            Sql("project_id = ?", (project_id,)), data, computed=made._asdict()
        )
        if changed:
            return changed[0]
        return self.model(await self.add_to(project_id, data, made=made))
