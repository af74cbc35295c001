"""Pages of projects: filters, sort orders, and searches for a part of a name."""

from dataclasses import dataclass

from backend.repositories.following_index import IndexState, ProjectIndexRepository
from backend.repositories.paging import Position, Query
from backend.repositories.part_search import (
    Fetch,
    P,
    PageOrder,
    PartSearch,
    contains,
    list_query,
)
from database.engine import Executor
from database.portable_sql import among
from database.text_keys import text_key
from models import ProjectStatus

SORT_COLUMNS = {"created_at": "created_at", "updated_at": "updated_at", "name": "name_key"}
KEYS = {"name_key": "name", "owner_key": "github_owner", "repo_key": "github_repo"}
"""The key columns, which `text_key` fills, and the columns that they belong to."""

_LISTED = [status.value for status in ProjectStatus if status is not ProjectStatus.DELETED]
"""The statuses that are listed without a filter by status."""


@dataclass(frozen=True, slots=True)
class ProjectFilter:
    """The filters of a list of projects. Deleted ones are listed only if `statuses` names them."""

    statuses: tuple[ProjectStatus, ...] = ()
    owner: str | None = None
    """GitHub owner, compared without case."""
    text: str | None = None
    """A part of the name or of `owner/repo`, compared without case."""
    ids: tuple[int, ...] | None = None
    """Only these projects; `None` for all."""


def project_order(sort: str, limit: int, after: Position | None) -> PageOrder:
    """The order of `sort`: a name in `SORT_COLUMNS`, prefixed with `-` for descending order."""
    columns = (SORT_COLUMNS[sort.removeprefix("-")], "id")
    return PageOrder(columns, sort.startswith("-"), limit, after)


async def read_page(db: Executor, filter: ProjectFilter, order: PageOrder, fetch: Fetch[P]) -> P:
    """The page of the list. With a text in the filter, call it inside a transaction: it may need
    several statements."""
    listed = _ProjectList(filter, order)
    if filter.ids is not None:
        return await fetch(_own_query(listed))
    if not filter.text:
        return await fetch(list_query(listed))
    index = ProjectIndexRepository.over(db)
    search = PartSearch(db, listed, index.index, await index.state())
    return await search.read(filter.text, fetch)


def _own_query(listed: "_ProjectList") -> Query:
    """The list for a token that is bound to projects."""
    # These few rows first, because an index of the list would scan all other projects too.
    ids = listed.filter.ids or ()
    query = Query(
        f"WITH own AS MATERIALIZED (SELECT * FROM projects WHERE {among('id', ids)})"
        " SELECT * FROM own",
        *ids,
    )
    listed.add_conditions(query, merging=False)
    return listed.order.apply_to(query)


@dataclass(frozen=True, slots=True)
class _ProjectList:
    """A `SearchedList` of projects. `ids` is left to the caller."""

    filter: ProjectFilter
    order: PageOrder

    @property
    def table(self) -> str:
        return "projects"

    @property
    def is_filtered(self) -> bool:
        return bool(self.filter.statuses) or self.filter.owner is not None

    def is_in_order_of_ids(self, state: IndexState) -> bool:
        return self.order.columns[0] == "created_at" and state.in_order

    def add_conditions(self, query: Query, *, merging: bool, text: bool = True) -> None:
        statuses = [status.value for status in self.filter.statuses]
        if statuses and not merging:
            query.where_in("status", statuses)
        elif statuses:
            query.branch("status", statuses)
        elif self.filter.owner is not None and merging:
            query.branch("status", _LISTED)
        else:
            query.where("status <> 'deleted'")
        if self.filter.owner is not None:
            query.where("owner_key = ?", text_key(self.filter.owner))
        if text and self.filter.text:
            _add_text(query, self.filter.text)


def _add_text(query: Query, text: str) -> None:
    pattern = contains(text_key(text))
    query.where("search_text LIKE ? ESCAPE '\\'", pattern)
    if "\n" in text:
        # `search_text` has a newline after the name, which is not part of a searched text.
        each = " OR ".join(f"{key} LIKE ? ESCAPE '\\'" for key in KEYS)
        query.where(f"({each})", pattern, pattern, pattern)
