"""Projects: look-ups, filtered and sorted pages, deletion that can be taken back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import ProjectExists
from backend.repositories.paging import (
    JsonPage,
    Page,
    Position,
    Query,
    fetch_json,
    fetch_page,
    json_members,
)
from database.base import BaseRepository, Clock, Sql, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Row, Value
from database.errors import UniqueViolation
from database.portable_sql import among
from database.text_keys import text_key
from models import Project, ProjectStatus

SORT_COLUMNS = {"created_at": "created_at", "updated_at": "updated_at", "name": "name_key"}


@dataclass(frozen=True, slots=True)
class ProjectFilter:
    """What a list of projects holds. Deleted ones only when `statuses` says so."""

    statuses: tuple[ProjectStatus, ...] = ()
    owner: str | None = None
    """GitHub owner, without regard to case."""
    text: str | None = None
    """A part of the name or of `owner/repo`, without regard to case."""
    ids: tuple[int, ...] | None = None
    """Only these projects; `None` for all."""


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

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(Project, "projects", db_manager, clock=clock)

    async def create(self, data: Mapping[str, Any]) -> Project:
        """Insert a project. Raises `ProjectExists` when its repository belongs to another one."""
        try:
            return await super().create(data)
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
        """What every repository does, and what is searched follows.

        Raises `ProjectExists` when its repository belongs, or would belong, to another one.
        """
        if not data.keys().isdisjoint(_KEYS.values()):
            computed = {**(computed or {}), "search_text": _search_text(self.columns(data))}
        try:
            return await super().change(id, data, expected=expected, where=where, computed=computed)
        except UniqueViolation:
            raise await self._holder(id, self.columns(data)) from None

    async def get_by_github_repo(self, owner: str, repo: str) -> Project | None:
        """The project of this repository, without regard to case, that is not deleted; else
        `None`. Of twins it is the one that is written just so, if any is, else the first."""
        rows = await self.db.fetch_all(
            "SELECT * FROM projects WHERE owner_key = ? AND repo_key = ? AND status <> 'deleted'"
            " ORDER BY twin",
            (text_key(owner), text_key(repo)),
        )
        projects = [self.model(row) for row in rows]
        exact = (one for one in projects if (one.github_owner, one.github_repo) == (owner, repo))
        return next(exact, None) or next(iter(projects), None)

    async def twins(self) -> list[tuple[int, int]]:
        """Projects that have one repository since an earlier version told them from each other by
        their form in Unicode: the id of the first one, and of each other."""
        rows = await self.db.fetch_all(
            "SELECT first.id, other.id FROM projects AS other JOIN projects AS first"
            " ON first.owner_key = other.owner_key AND first.repo_key = other.repo_key"
            " AND first.status <> 'deleted' AND first.twin = 0"
            " WHERE other.twin > 0 AND other.status <> 'deleted' ORDER BY other.twin"
        )
        return [(row[0], row[1]) for row in rows]

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
        """Set or clear the webhook URL; whether there is such a project."""
        return await self.change(project_id, {"webhook_url": webhook_url}) is not None

    async def page(
        self, filter: ProjectFilter, *, sort: str, limit: int, after: Position | None
    ) -> Page[Project]:
        """Up to `limit` projects in the order of `sort` (a name in `SORT_COLUMNS`, `-` in front
        for descending) that come after the position `after`."""
        query, keys = _page_query(filter, sort=sort, limit=limit, after=after)
        return await fetch_page(self.db, query, limit, self.model, keys, members=_MEMBERS)

    async def json_page(
        self, filter: ProjectFilter, *, sort: str, limit: int, after: Position | None
    ) -> JsonPage:
        """The same page as JSON."""
        query, keys = _page_query(filter, sort=sort, limit=limit, after=after)
        return await fetch_json(self.db, query, limit, keys, _MEMBERS)

    async def soft_delete(self, project_id: int) -> bool:
        """Mark the project deleted; `False` when there is none, or it is deleted already."""
        deleted = await self.change(
            project_id, _DELETED, where=Sql("status <> 'deleted'"), computed=_NO_TWIN
        )
        return deleted is not None

    async def restore(self, project_id: int) -> Project | None:
        """Make a deleted project active; `None` when there is none with this id that is deleted.

        Raises `ProjectExists` when its repository belongs to another project now.
        """
        return await self.change(
            project_id, _ACTIVE, where=Sql("status = 'deleted'"), computed=_NO_TWIN
        )

    async def purge(self, project_id: int) -> bool:
        """Remove the project and all that belongs to it, for good; whether there was one."""
        return await self.delete(project_id)

    async def _holder(self, id: int, changes: Mapping[str, Value]) -> ProjectExists:
        """The error for a project that has, or would have by `changes`, another's repository."""
        row = await self.db.fetch_one(
            "SELECT other.id FROM projects AS mine JOIN projects AS other"
            " ON other.owner_key = coalesce(?, mine.owner_key)"
            " AND other.repo_key = coalesce(?, mine.repo_key)"
            " AND other.status <> 'deleted' AND other.twin = 0 WHERE mine.id = ?",
            (changes.get("owner_key"), changes.get("repo_key"), id),
        )
        return ProjectExists(row["id"] if row is not None else None)

    def columns(self, data: Mapping[str, Any]) -> dict[str, Value]:
        """`data` with the keys that look-ups, sorting and search go by."""
        columns = super().columns(data)
        for key, name in _KEYS.items():
            if name in data:
                columns[key] = text_key(data[name])
        if "owner_key" in columns or "repo_key" in columns:
            columns["twin"] = 0
        return columns

    async def insert(self, columns: Mapping[str, Value]) -> Row:
        """Insert a row of these columns, and what is searched; the row as stored."""
        name, owner, repo = (str(columns[key]) for key in _KEYS)
        searched = f"{name}\n{owner}/{repo}"
        return await super().insert({**columns, "search_text": searched})


_DELETED, _ACTIVE = {"status": ProjectStatus.DELETED}, {"status": ProjectStatus.ACTIVE}
_NO_TWIN: Mapping[str, Value] = {"twin": 0}
_KEYS = {"name_key": "name", "owner_key": "github_owner", "repo_key": "github_repo"}
"""The keys, as `text_key` makes them, and what they are the keys of."""


def _search_text(columns: Mapping[str, Value]) -> Sql:
    # Of what is stored as far as it does not change, so that no other change gets lost.
    name, owner, repo = ("?" if key in columns else key for key in _KEYS)
    return Sql(
        f"{name} || '\n' || {owner} || '/' || {repo}",
        tuple(columns[key] for key in _KEYS if key in columns),
    )


def contains(text: str) -> str:
    """The LIKE pattern, with `\\` as its escape, for texts that have `text` in them."""
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return f"%{text}%"


_MEMBERS = json_members(Project)
_LISTED = [status.value for status in ProjectStatus if status is not ProjectStatus.DELETED]
"""The statuses of projects that are listed unless a status is asked for."""


def _page_query(
    filter: ProjectFilter, *, sort: str, limit: int, after: Position | None
) -> tuple[Query, tuple[str, str]]:
    column = SORT_COLUMNS[sort.removeprefix("-")]
    if filter.ids:
        # Those few first: each index of the list would lead through everybody else's, too.
        query = Query(
            f"WITH own AS MATERIALIZED (SELECT * FROM projects WHERE {among('id', filter.ids)})"
            " SELECT * FROM own",
            *filter.ids,
        )
    else:
        query = Query("SELECT * FROM projects")
    statuses = [status.value for status in filter.statuses]
    if statuses and filter.ids:
        query.where_in("status", statuses)
    elif statuses:
        query.branch("status", statuses)
    elif filter.owner is not None and not filter.ids:
        query.branch("status", _LISTED)
    else:
        query.where("status <> 'deleted'")
    if filter.owner is not None:
        query.where("owner_key = ?", text_key(filter.owner))
    if filter.text:
        pattern = contains(text_key(filter.text))
        query.where("search_text LIKE ? ESCAPE '\\'", pattern)
        if "\n" in filter.text:
            # It stands behind the name, too, and is no part of what is searched.
            each = " OR ".join(f"{key} LIKE ? ESCAPE '\\'" for key in _KEYS)
            query.where(f"({each})", pattern, pattern, pattern)
    if filter.ids == ():
        query.where("1 = 0")
    query.keyset((column, "id"), after, descending=sort.startswith("-"), limit=limit)
    return query, (column, "id")
