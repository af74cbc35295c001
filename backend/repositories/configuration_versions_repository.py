"""Earlier versions of configurations."""

from collections.abc import Mapping, Sequence

from backend.repositories.guarded_kinds import CONFIGURATIONS
from backend.repositories.paging import Merged, Page, PageReader, Position, Query
from backend.repositories.version_rows import (
    CONFIGURATION_VERSIONS,
    VersionRow,
    selected,
    version_row,
)
from database.base import TableAccess
from database.engine import JsonKind
from database.portable_sql import among


class ConfigurationVersionsRepository(TableAccess):
    """The table `configuration_versions`."""

    async def keep(self, configuration_id: int, mac: str) -> None:
        """Copy the present version of a configuration, which is about to be replaced."""
        # In SQL, so that a text that is not UTF-8 keeps its bytes.
        await self.db.execute(
            f"INSERT INTO configuration_versions ({', '.join(CONFIGURATION_VERSIONS.columns)}, mac)"
            f" SELECT {', '.join(CONFIGURATIONS.columns)}, CAST(? AS TEXT)"
            f" FROM project_settings WHERE id = ?{_INSTEAD}",
            (mac, configuration_id),
        )

    async def get(self, project_id: int, version: int) -> VersionRow | None:
        """This earlier version of the project's configuration, or `None`."""
        row = await self.db.fetch_one(
            f"{selected(CONFIGURATION_VERSIONS)} WHERE version = ? AND project_id = ?",
            (version, project_id),
        )
        return version_row(row) if row is not None else None

    async def is_used(self, project_id: int, version: int) -> bool:
        """Whether a run of the project refers to this version of its configuration."""
        row = await self.db.fetch_one(
            "SELECT 1 FROM agent_runs WHERE project_id = ? AND settings_version = ? LIMIT 1",
            (project_id, version),
        )
        return row is not None

    async def page(
        self, project_id: int, *, oldest: int, limit: int, after: Position | None
    ) -> Page[VersionRow]:
        """Up to `limit` versions after the position `after`, newest first: from `oldest` on, and
        older ones that runs refer to. The present one, which is the first, has an empty MAC."""
        reader = PageReader(limit, version_row, ("version",), members=_SHOWN)
        queries = []
        for select, condition in ((_PRESENT, ""), (_EARLIER, _KEPT)):
            query = Query(select)
            query.where("project_id = ?", project_id)
            if condition:
                query.where(condition, oldest)
            query.keyset(("version",), after, descending=True, limit=limit)
            queries.append(query)
        await reader.read(self.db, Merged(queries, ("version",), descending=True, limit=limit))
        return reader.page()

    async def beyond(
        self, kept: int, after: tuple[int, int], limit: int
    ) -> tuple[list[int], tuple[int, int] | None]:
        """Look at up to `limit` rows after the project and version `after`. Returns the ids of
        those that are not among the newest `kept` of their project, counting the present one, and
        that no run refers to; and the last row's project and version, `None` at the end."""
        rows = await self.db.fetch_all(
            f"SELECT id, project_id, version, {_IS_BEYOND} AND NOT {_IS_USED}"
            " FROM configuration_versions AS v WHERE (project_id, version) > (?, ?)"
            " ORDER BY project_id, version LIMIT ?",
            (kept, *after, limit),
        )
        last = (rows[-1][1], rows[-1][2]) if rows else None
        return [row[0] for row in rows if row[3]], last

    async def remove(self, ids: Sequence[int], kept: int) -> int:
        """Remove those of these versions that `beyond` would still return. Returns their
        number."""
        return await self.db.execute(
            f"DELETE FROM configuration_versions AS v WHERE {among('id', ids)}"
            f" AND {_IS_BEYOND} AND NOT {_IS_USED}",
            (*ids, kept),
        )


_INSTEAD = (
    # Only another program can have inserted a row of the present version.
    " ON CONFLICT (project_id, version) DO UPDATE SET mac = excluded.mac, "
    + ", ".join(
        f"{name} = excluded.{name}"
        for name in CONFIGURATION_VERSIONS.columns
        if name not in ("project_id", "version")
    )
)
_SHOWN: Mapping[str, JsonKind] = {
    "version": "plain",
    "updated_at": "plain",
    "actor": "plain",
    "fields": "json",
}
_EARLIER = selected(CONFIGURATION_VERSIONS)
_PRESENT = (
    f"SELECT id, {CONFIGURATIONS.target} AS target, '' AS mac,"
    f" id AS configuration_id, {', '.join(CONFIGURATIONS.columns[1:])} FROM project_settings"
)
_IS_USED = (
    "EXISTS (SELECT 1 FROM agent_runs AS r"
    " WHERE r.project_id = {0}.project_id AND r.settings_version = {0}.version)"
)
_KEPT = f"(version >= ? OR {_IS_USED.format('configuration_versions')})"
_IS_USED = _IS_USED.format("v")
_IS_BEYOND = (
    # The present version follows the newest one here.
    "v.version <= (SELECT max(n.version) FROM configuration_versions AS n"
    " WHERE n.project_id = v.project_id) + 1 - ?"
)
