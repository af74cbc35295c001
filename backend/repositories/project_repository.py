"""Projects: look-ups, filtered and sorted pages, and deletion that can be undone."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backend.errors import ProjectExists
from backend.repositories.following_index import ProjectIndexRepository
from backend.repositories.paging import (
    JsonPage,
    Page,
    Position,
    Statement,
    fetch_json,
    fetch_page,
    json_members,
)
from backend.repositories.project_pages import KEYS, ProjectFilter, project_order, read_page
from backend.repositories.project_runs import JOINS, RUNS
from database.base import BaseRepository, Clock, Sql, utc_now
from database.connection_manager import DatabaseManager
from database.engine import JsonMember, SubstringIndex, Value
from database.errors import UniqueViolation
from database.portable_sql import among
from database.text_keys import text_key
from models import Project, ProjectStatus


class ProjectRepository(BaseRepository[Project]):
    """The table `projects`."""

    writable = frozenset(
        {
            "name",
            "github_owner",
            "github_repo",
            "status",
            "webhook_url",
            "auto_merge_enabled",
            "auto_confirm_plans",
        }
    )
    defaults = MappingProxyType(
        {
            "status": "active",
            "webhook_url": None,
            "auto_merge_enabled": 0,
            "auto_confirm_plans": 0,
            "version": 1,
            "twin": 0,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(Project, "projects", db_manager, clock=clock)

    async def add_row(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Insert a project. Raises `ProjectExists` when another project has the repository."""
        try:
            return await super().add_row(data)
        except UniqueViolation:
            holder = await self.get_by_github_repo(data["github_owner"], data["github_repo"])
            raise ProjectExists(holder.id if holder is not None else None) from None

    async def change(
        self,
        id: int,
        data: Mapping[str, Any],
        *,
        expected: int | None = None,
        where: Sql | None = None,
        computed: Mapping[str, Sql | Value] | None = None,
    ) -> Project | None:
        """Change the row as every repository does, and keep `search_text` up to date.

        Raises `ProjectExists` when another project has the present or the new repository.
        """
        renames = not data.keys().isdisjoint(KEYS.values())
        if renames:
            computed = {**(computed or {}), "search_text": _search_text(self.columns(data))}
            await self._index.remove(self.db, id)
        try:
            changed = await super().change(
                id, data, expected=expected, where=where, computed=computed
            )
        except UniqueViolation:
            raise await self._holder(id, self.columns(data)) from None
        if renames:
            # Also if nothing was changed.
            await self._index.add(self.db, id, id)
        return changed

    async def get_by_github_repo(self, owner: str, repo: str) -> Project | None:
        """The project of this repository that is not deleted, or `None`. Case is ignored. Of twins
        it is the one with exactly this spelling, else the first."""
        keys = repository_key(owner, repo)
        rows = await self.db.fetch_all(
            "SELECT * FROM projects WHERE owner_key = ? AND repo_key = ? AND status <> 'deleted'"
            " ORDER BY twin",
            keys,
        )
        # Compared again, because nothing guards the key columns against changes in the file.
        projects = [
            one
            for one in map(self.model, rows)
            if repository_key(one.github_owner, one.github_repo) == keys
        ]
        exact = (one for one in projects if (one.github_owner, one.github_repo) == (owner, repo))
        return next(exact, None) or next(iter(projects), None)

    async def taken(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these repositories, as `repository_key` names them, that a project has which is
        not deleted."""
        marks = ", ".join(["(?, ?)"] * len(keys))
        rows = await self.db.fetch_all(
            # In this order: with IN, SQLite would read every project.
            f"WITH wanted (owner, repo) AS (VALUES {marks}) SELECT owner_key, repo_key"
            " FROM wanted CROSS JOIN projects"
            " WHERE owner_key = owner AND repo_key = repo AND status <> 'deleted'",
            [part for key in keys for part in key],
        )
        return {(row[0], row[1]) for row in rows}

    async def twins(self) -> list[tuple[int, int]]:
        """Projects that share a repository, because an earlier version distinguished names by
        their Unicode normal form: the id of the first project, paired with each other's id."""
        rows = await self.db.fetch_all(
            "SELECT first.id, other.id FROM projects AS other JOIN projects AS first"
            " ON first.owner_key = other.owner_key AND first.repo_key = other.repo_key"
            " AND first.status <> 'deleted' AND first.twin = 0"
            " WHERE other.twin > 0 AND other.status <> 'deleted' ORDER BY other.twin"
        )
        return [(row[0], row[1]) for row in rows]

    async def with_wrong_keys(self, ids: Sequence[int]) -> set[int]:
        """Those of the projects whose key columns do not fit their names."""
        rows = await self.db.fetch_all(
            f"SELECT id, search_text, {', '.join((*KEYS, *KEYS.values()))} FROM projects"
            f" WHERE {among('id', ids)}",
            tuple(ids),
        )
        return {
            row["id"]
            for row in rows
            if any(row[key] != text_key(row[name]) for key, name in KEYS.items())
            or row["search_text"] != "{}\n{}/{}".format(*(row[key] for key in KEYS))
        }

    async def is_live(self, project_id: int) -> bool:
        """Whether there is a project with this id that is not deleted."""
        row = await self.db.fetch_one(
            "SELECT 1 FROM projects WHERE id = ? AND status <> 'deleted'", (project_id,)
        )
        return row is not None

    async def list_active_projects(self) -> list[Project]:
        """All projects whose status is `active`, newest first."""
        rows = await self.db.fetch_all(
            "SELECT * FROM projects WHERE status = 'active' ORDER BY created_at DESC, id DESC"
        )
        return [self.model(row) for row in rows]

    async def update_webhook_url(self, project_id: int, webhook_url: str | None) -> bool:
        """Set or clear the webhook URL. Returns whether the project exists."""
        return await self.change(project_id, {"webhook_url": webhook_url}) is not None

    async def page(
        self, filter: ProjectFilter, *, sort: str, limit: int, after: Position | None
    ) -> Page[Project]:
        """Up to `limit` projects after the position `after`, in the order of `sort`: a name in
        `SORT_COLUMNS`, prefixed with `-` for descending order. With a text in the filter, call it
        inside a transaction."""
        order = project_order(sort, limit, after)

        async def fetch(query: Statement) -> Page[Project]:
            return await fetch_page(
                self.db, query, limit, self.model, order.columns, members=PROJECT_MEMBERS
            )

        return await read_page(self.db, filter, order, fetch)

    async def json_page(
        self,
        filter: ProjectFilter,
        *,
        sort: str,
        limit: int,
        after: Position | None,
        with_runs: bool = False,
    ) -> JsonPage:
        """The same page as JSON, each project with its `RUNS` if that is asked for."""
        order = project_order(sort, limit, after)
        members, joins = (_WITH_RUNS, JOINS) if with_runs else (PROJECT_MEMBERS, "")

        async def fetch(query: Statement) -> JsonPage:
            return await fetch_json(self.db, query, limit, order.columns, members, joins=joins)

        return await read_page(self.db, filter, order, fetch)

    async def soft_delete(self, project_id: int) -> Project | None:
        """Mark the project as deleted. `None` when it does not exist or is already deleted."""
        return await self.change(
            project_id, _DELETED, where=Sql("status <> 'deleted'"), computed=_NO_TWIN
        )

    async def restore(self, project_id: int) -> Project | None:
        """Make a deleted project active; `None` when no deleted project has this id.

        Raises `ProjectExists` when another project has its repository by now.
        """
        return await self.change(
            project_id, _ACTIVE, where=Sql("status = 'deleted'"), computed=_NO_TWIN
        )

    async def delete(self, id: int) -> bool:
        """Remove the row, the rows that belong to it, and what the index has of it."""
        await ProjectIndexRepository.over(self.db).purge(id)
        return await super().delete(id)

    async def purge(self, project_id: int) -> bool:
        """Remove the project and everything that belongs to it. Returns whether it existed."""
        if await self.delete(project_id):
            return True
        # Another program may have removed the row alone.
        for table in _IN_PROJECT:
            await self.db.execute(f"DELETE FROM {table} WHERE project_id = ?", (project_id,))
        return False

    @property
    def _index(self) -> SubstringIndex:
        return ProjectIndexRepository.over(self.db).index

    async def _holder(self, id: int, changes: Mapping[str, Value]) -> ProjectExists:
        """The error for a project whose repository, after `changes`, another project has."""
        row = await self.db.fetch_one(
            "SELECT other.id FROM projects AS mine JOIN projects AS other"
            " ON other.owner_key = coalesce(?, mine.owner_key)"
            " AND other.repo_key = coalesce(?, mine.repo_key)"
            " AND other.status <> 'deleted' AND other.twin = 0 WHERE mine.id = ?",
            (changes.get("owner_key"), changes.get("repo_key"), id),
        )
        return ProjectExists(row["id"] if row is not None else None)

    def columns(self, data: Mapping[str, Any]) -> dict[str, Value]:
        """`data` with the key columns for look-ups, sorting and search."""
        columns = super().columns(data)
        for key, name in KEYS.items():
            if name in data:
                columns[key] = text_key(data[name])
        if "owner_key" in columns or "repo_key" in columns:
            columns["twin"] = 0
        return columns

    async def insert_all(self, rows: Sequence[Mapping[str, Value]]) -> Sequence[dict[str, Any]]:
        """Insert rows with these columns and their `search_text`. Their ids are some that no
        project had before, even if the counter of ids was turned back outside the service: rows of
        a purged project could be put back into it."""
        rows = [
            {**row, "search_text": "{}\n{}/{}".format(*(str(row[key]) for key in KEYS))}
            for row in rows
        ]
        inserted = await super().insert_all(rows)
        while await self._are_in_record([row["id"] for row in inserted]):
            for row in inserted:
                await super().delete(row["id"])
            inserted = await super().insert_all(rows)
        return inserted

    async def _are_in_record(self, ids: Sequence[int]) -> bool:
        """Whether any of these projects is in the record."""
        row = await self.db.fetch_one(
            f"SELECT 1 FROM guarded_targets WHERE {among('target', ids)} LIMIT 1",
            [f"projects/{id}" for id in ids],
        )
        return row is not None


def repository_key(owner: str, repo: str) -> tuple[str, str]:
    """The same for two names of one repository."""
    return text_key(owner), text_key(repo)


_DELETED, _ACTIVE = {"status": ProjectStatus.DELETED}, {"status": ProjectStatus.ACTIVE}
_NO_TWIN: Mapping[str, Value] = {"twin": 0}


def _search_text(columns: Mapping[str, Value]) -> Sql:
    # Unchanged parts are taken from the stored row, so that no concurrent change gets lost.
    name, owner, repo = ("?" if key in columns else key for key in KEYS)
    return Sql(
        f"{name} || '\n' || {owner} || '/' || {repo}",
        tuple(columns[key] for key in KEYS if key in columns),
    )


_IN_PROJECT = (
    # Values before the keys that they refer to.
    "agent_runs",
    "webhooks",
    "secret_versions",
    "configuration_versions",
    "project_secrets",
    "project_settings",
    "project_keys",
    "run_queues",
)
PROJECT_MEMBERS = json_members(Project)
"""The members of a project's JSON."""
_WITH_RUNS: Mapping[str, JsonMember] = {**PROJECT_MEMBERS, "runs": RUNS}
