"""Pages of runs: filters, sort orders, and searches for a part of a target text.

Sorted by `created_at`, runs are in the order of their ids, in which they were created.
"""

from dataclasses import dataclass, replace
from typing import Final

from backend.repositories.following_index import IndexState, RunIndexRepository
from backend.repositories.paging import Position, Query
from backend.repositories.part_search import (
    Fetch,
    P,
    PageOrder,
    PartSearch,
    contains,
    list_query,
)
from backend.repositories.run_times import IdRange, ids_created_between
from database.engine import Executor
from database.portable_sql import unindexed
from database.text_keys import text_key
from models import RunStatus, RunType

SORT_COLUMNS: Final = {"created_at": ("id",), "updated_at": ("updated_at", "id")}
"""The columns that order the list, by the name of the order."""
FEW_IDS: Final = 5_000
"""A list by `updated_at` of no more ids than this reads all of them, and sorts."""
TARGET_KEY: Final = "coalesce(target_key, lower(target_text))"
"""The key of a run's target text."""

_STATUSES = [status.value for status in RunStatus]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filters of a list of runs; what is not given allows all."""

    project_ids: tuple[int, ...] | None = None
    """Only runs of these projects; `None` for all."""
    statuses: tuple[RunStatus, ...] = ()
    run_types: tuple[RunType, ...] = ()
    """Only runs of these types; empty for all. The same holds for `statuses`."""
    worker: str | None = None
    """Only runs that this worker has, or had last."""
    since: str | None = None
    until: str | None = None
    """Only runs created between these times, both included, in the form of `time_text`."""
    text: str | None = None
    """A part of the target text, compared without case."""

    @property
    def needs_transaction(self) -> bool:
        """Whether a page may need several statements."""
        return bool(self.text) or self.since is not None or self.until is not None


def run_order(sort: str, limit: int, after: Position | None) -> PageOrder:
    """The order of `sort`: a name in `SORT_COLUMNS`, prefixed with `-` for descending order."""
    columns = SORT_COLUMNS[sort.removeprefix("-")]
    return PageOrder(columns, sort.startswith("-"), limit, after)


async def read_page(db: Executor, filter: RunFilter, order: PageOrder, fetch: Fetch[P]) -> P:
    """The page of the list. If the filter `needs_transaction`, call it inside one."""
    listed = RunList(filter, order)
    if not filter.needs_transaction:
        return await fetch(list_query(listed))
    index = RunIndexRepository.over(db)
    state = await index.state()
    if filter.since is not None or filter.until is not None:
        listed = replace(
            listed, ids=await ids_created_between(db, state, filter.since, filter.until)
        )
    if not filter.text:
        return await fetch(list_query(listed))
    return await PartSearch(db, listed, index.index, state).read(filter.text, fetch)


@dataclass(frozen=True, slots=True)
class RunList:
    """A `SearchedList` of runs."""

    filter: RunFilter
    order: PageOrder
    ids: IdRange | None = None
    """The ids that are possible; `None` if all are."""

    @property
    def table(self) -> str:
        return "agent_runs"

    @property
    def is_filtered(self) -> bool:
        return self.filter != RunFilter(text=self.filter.text)

    def is_in_order_of_ids(self, state: IndexState) -> bool:  # noqa: ARG002 - of `SearchedList`
        return self.order.columns == ("id",)

    def add_conditions(self, query: Query, *, merging: bool, text: bool = True) -> None:
        filter = self.filter
        # A filter by several columns reads the index of one, and compares the others in the row.
        plain = merging and filter.worker is None and not self._sorts_few_ids
        if plain and self.order.columns != ("id",):
            query.branch("status", [status.value for status in filter.statuses] or _STATUSES)
            self._add_projects(query, branching=True)
            self._add_types(query, branching=False)
        else:
            self._add_projects(query, branching=plain)
            statuses = [status.value for status in filter.statuses]
            if statuses and plain:
                query.branch("status", statuses)
            elif statuses:
                query.where_in(unindexed("status"), statuses)
            # With a status, the index by type would also visit the runs of all other statuses.
            self._add_types(query, branching=plain and not statuses)
        if filter.worker is not None:
            column = "lease_worker" if merging else unindexed("lease_worker")
            query.where(f"{column} = ?", filter.worker)
        self._add_times(query, merging=merging)
        if text and filter.text:
            query.where(f"{TARGET_KEY} LIKE ? ESCAPE '\\'", contains(text_key(filter.text)))

    @property
    def _sorts_few_ids(self) -> bool:
        """Whether all runs with these ids are read, because they are few, and sorted."""
        return (
            self.ids is not None
            and self.ids.count <= FEW_IDS
            and self.order.columns != ("id",)
            and self.filter.worker is None
        )

    def _add_projects(self, query: Query, *, branching: bool) -> None:
        if self.filter.project_ids is None:
            return
        if branching:
            query.branch("project_id", self.filter.project_ids)
        else:
            query.where_in(unindexed("project_id"), self.filter.project_ids)

    def _add_types(self, query: Query, *, branching: bool) -> None:
        if not self.filter.run_types:
            return
        run_types = [run_type.value for run_type in self.filter.run_types]
        if branching:
            query.branch("run_type", run_types)
        else:
            query.where_in(unindexed("run_type"), run_types)

    def _add_times(self, query: Query, *, merging: bool) -> None:
        if self.ids is not None:
            by_id = merging and (self.order.columns == ("id",) or self._sorts_few_ids)
            column = "id" if by_id else unindexed("agent_runs.id")
            query.where(f"{column} BETWEEN ? AND ?", self.ids.first, self.ids.last)
        if self.filter.since is not None:
            query.where("created_at >= ?", self.filter.since)
        if self.filter.until is not None:
            query.where("created_at <= ?", self.filter.until)
