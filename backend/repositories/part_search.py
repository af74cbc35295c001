"""Pages of a list whose rows contain a part of a text.

A search reads either the rows that the index of trigrams names, or the list in its order until the
page is full. Which of them costs less depends on how many rows have the part: see decision 35.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from backend.repositories.following_index import IndexState
from backend.repositories.paging import Merged, Position, Query, Statement
from database.engine import Candidates, Executor, SubstringIndex
from database.portable_sql import among, unindexed
from database.text_keys import text_key

FEW_ROWS = 500
"""So many rows are read in about two milliseconds, through the index or in the list's order."""
FEW_OF_SHORT_PART = 5_000
"""The same for a part of one or two characters, for which a search may take longer."""
SOME_ROWS = 2_000
"""So many rows are read rather than a part of the list that will hardly fill the page."""
COUNTED_ROWS = 20_000
"""The index is counted up to this number, in about two milliseconds."""
SPREAD = 4
"""The part of a list that should fill a page is taken to be so many times as long."""
ROW_COST = 3.0
"""Microseconds for reading a row, which is rarely near the one before it."""
ENTRY_COST = 0.3
"""Microseconds for the next entry of the list's index, with a look at what the index has of it."""
CANDIDATE_COST = 0.25
"""Microseconds for finding and noting a candidate, for each part of the list that has rows."""


@dataclass(frozen=True, slots=True)
class PageOrder:
    """The order of a page, and its place in the list."""

    columns: tuple[str, ...]
    """The columns that order the list, the last of which is `id`."""
    descending: bool
    """Whether the greatest values come first."""
    limit: int
    after: Position | None

    def apply_to(self, query: Query) -> Query:
        """The query, which is given the order and the place."""
        query.keyset(self.columns, self.after, descending=self.descending, limit=self.limit)
        return query


class _Page(Protocol):
    @property
    def next_position(self) -> Position | None: ...


P = TypeVar("P", bound=_Page)
Fetch = Callable[[Statement], Awaitable[P]]
"""Reads the page of a statement."""


class SearchedList(Protocol):
    """A list that can be searched: its filters, with the text, and its order."""

    @property
    def table(self) -> str:
        """The table of its rows."""
        ...

    @property
    def order(self) -> PageOrder:
        """The order, and the page's place in it."""
        ...

    @property
    def is_filtered(self) -> bool:
        """Whether rows with the text may be missing from the list."""
        ...

    def is_in_order_of_ids(self, state: IndexState) -> bool:
        """Whether the order is that of the ids of the indexed rows."""
        ...

    def add_conditions(self, query: Query, *, merging: bool, text: bool = True) -> None:
        """Add the conditions of the filters. With `merging`, the rows come from the indexes of
        lists, in their order. Without `text`, all texts fit."""
        ...


def contains(text: str) -> str:
    """The LIKE pattern, with `\\` as its escape, for texts that contain `text`."""
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return f"%{text}%"


def list_query(listed: SearchedList) -> Query:
    """The list in its order, of which the text is no index."""
    query = Query(f"SELECT * FROM {listed.table}")
    listed.add_conditions(query, merging=True)
    return listed.order.apply_to(query)


@dataclass(frozen=True, slots=True)
class PartSearch:
    """One page of a search. Its statements must see the same rows."""

    db: Executor
    listed: SearchedList
    index: SubstringIndex
    state: IndexState

    async def read(self, text: str, fetch: Fetch[P]) -> P:
        """The page of the rows that contain `text`, without regard to case and Unicode form."""
        if self.state.is_far_behind:
            return await fetch(list_query(self.listed))
        part = text_key(text)
        few = FEW_ROWS if len(part) > 2 else FEW_OF_SHORT_PART
        found = await self.index.candidates(self.db, part, few)
        if found.most < few:
            first = await self._first_found(found)
            page = await fetch(first) if first is not None else None
            if page is not None and page.next_position is not None:
                return page
            return await fetch(self._found(found))
        in_order = self._found_in_order(found)
        if in_order is not None and not self.listed.is_filtered:
            return await fetch(in_order)
        if in_order is None:
            return await self._cheapest(found, fetch)
        if await self._is_rather_rare(found, few):
            return await fetch(self._found(found))
        page = await self._walk(FEW_ROWS, fetch)
        return page if page is not None else await fetch(in_order)

    async def _cheapest(self, found: Candidates, fetch: Fetch[P]) -> P:
        """The page in the way that should cost least: reading all candidates, or reading the list
        in its order, whose rows are compared with the text or looked up in the candidates."""
        if found.matching is None:
            # Of short parts, many are so common that it would be in vain to count.
            page = await self._walk(FEW_ROWS, fetch)
            if page is not None:
                return page
        count, is_counted = await self._estimate(found)
        reading = ROW_COST * count
        # If the candidates are spread evenly, this many rows of the list have enough for the page.
        rows = (self.listed.order.limit + 1) * self.state.indexed_id / max(count, 1)
        query, cost = self._cheaper(found, rows, count if is_counted else None)
        if cost < reading:
            # Names begin with words, so the spread is uneven. The end of merged parts costs more.
            spread = SPREAD if query.parts == 1 else SPREAD / 2
            page = await self._walk(max(FEW_ROWS, round(spread * rows)), fetch, query)
            if page is not None:
                return page
        query, cost = self._cheaper(found, self.state.newest_id, count if is_counted else None)
        return await fetch(query if is_counted and cost < reading else self._found(found))

    def _cheaper(self, found: Candidates, rows: float, count: int | None) -> tuple[Query, float]:
        """The cheaper way to read this many rows of the list in its order, and what it costs, with
        `count` candidates; `None` for too many to look up rows in them."""
        listed = list_query(self.listed)
        comparing = rows * ROW_COST
        if count is None:
            return listed, comparing
        looking_up = rows * ENTRY_COST + count * CANDIDATE_COST * listed.parts
        if comparing <= looking_up:
            return listed, comparing
        return self._looked_up(found), looking_up

    async def _estimate(self, found: Candidates) -> tuple[int, bool]:
        """About how many candidates there are, and whether there are no more by far. The index is
        counted as far as it is cheap. The ids of the others are taken to be as close together."""
        if found.matching is None:
            # The index does not find them in the order of their ids.
            count = await self._count(found, COUNTED_ROWS)
            return count, count < COUNTED_ROWS
        row = await self.db.fetch_one(
            "SELECT count(*) AS found, max(found_id) AS last"
            f" FROM ({found.ids} ORDER BY found_id LIMIT ?) AS f",
            (*found.params, SOME_ROWS),
        )
        if row is None:
            return 0, True
        count = int(row["found"])
        if count == SOME_ROWS:
            count = max(count, round(count * self.state.indexed_id / int(row["last"])))
        return count, True

    async def _is_rather_rare(self, found: Candidates, few: int) -> bool:
        """Whether it costs less to read all candidates than to look for them in the list. Each of
        the trigrams may be common although the part is rare."""
        count = await self._count(found, max(few, SOME_ROWS))
        in_few_rows = count * few / max(1, self.state.indexed_id)
        return count < few or (count < SOME_ROWS and in_few_rows < self.listed.order.limit)

    async def _first_found(self, found: Candidates) -> Query | None:
        """The list as far as the candidates with the first ids go, if it is in the order of ids.
        They fill a page unless filters leave most of them out. `None` if there are hardly more."""
        order, table = self.listed.order, self.listed.table
        most = 2 * order.limit + 2
        if found.most <= 2 * most or not self.listed.is_in_order_of_ids(self.state):
            return None
        comparison, direction = ("<", " DESC") if order.descending else (">", "")
        after = "" if order.after is None else f" WHERE found_id {comparison} ?"
        rows = await self.db.fetch_all(
            f"SELECT DISTINCT found_id FROM ({found.ids}) AS f{after}"
            f" ORDER BY found_id{direction} LIMIT ?",
            (*found.params, *(order.after or ())[-1:], most),
        )
        ids = tuple(row["found_id"] for row in rows)
        last = await self.db.fetch_one(
            f"SELECT {', '.join(order.columns)} FROM {table} WHERE id = ?", ids[-1:] or (0,)
        )
        if len(ids) < most or last is None:
            return None
        own = f"SELECT id AS found_id FROM {table} WHERE {among('id', ids)}"
        query = self._found(Candidates(own, ids, most, None))
        # What is not indexed may be behind candidates that are left out here.
        query.until(order.columns, tuple(last), descending=order.descending)
        return query

    async def _walk(self, rows: int, fetch: Fetch[P], query: Query | None = None) -> P | None:
        """The page, if it is filled by what `query`, or else the list, finds among this many rows
        of the list in its order, or the list has no more rows; `None` otherwise."""
        order = self.listed.order
        end = await self._position_of(rows)
        query = query or list_query(self.listed)
        if end is not None:
            query.until(order.columns, end, descending=order.descending)
        page = await fetch(query)
        return page if end is None or page.next_position is not None else None

    def _looked_up(self, found: Candidates) -> Query:
        """The list in its order, of which only candidates and what is not indexed are read."""
        query = list_query(self.listed)
        id = unindexed(f"{self.listed.table}.id")
        query.where(
            f"({id} > ? OR {id} IN (SELECT found_id FROM ({found.ids}) AS f))",
            self.state.indexed_id,
            *found.params,
        )
        return query

    def _found(self, found: Candidates) -> Query:
        """All candidates, and what is not indexed, sorted."""
        table = self.listed.table
        query = Query(
            f"WITH found (found_id) AS MATERIALIZED ({found.ids}"
            f" UNION SELECT id FROM {table} WHERE id > ?)"
            f" SELECT {table}.* FROM found CROSS JOIN {table}",
            *found.params,
            self.state.indexed_id,
        )
        query.where(f"{table}.id = found.found_id")
        self.listed.add_conditions(query, merging=False)
        return self.listed.order.apply_to(query)

    def _found_in_order(self, found: Candidates) -> Merged | None:
        """The candidates in the order of their ids, as far as the page needs them; `None` if that
        is not the order of the list."""
        if found.matching is None or not self.listed.is_in_order_of_ids(self.state):
            return None
        table, order = self.listed.table, self.listed.order
        source, joined, id_column = self.index.joined(table)
        indexed = Query(f"SELECT {table}.* FROM {source}")
        indexed.where(found.matching[0], *found.matching[1])
        indexed.where(joined)
        if order.after is not None:
            indexed.where(f"{id_column} {'<' if order.descending else '>'} ?", order.after[-1])
        self.listed.add_conditions(indexed, merging=False)
        indexed.keyset((id_column,), None, descending=order.descending, limit=order.limit)
        newer = Query(f"SELECT * FROM {table}")
        newer.where("id > ?", self.state.indexed_id)
        self.listed.add_conditions(newer, merging=False)
        # These few are found by their ids, and sorted.
        columns = (*map(unindexed, order.columns[:-1]), "id")
        newer.keyset(columns, order.after, descending=order.descending, limit=order.limit)
        return Merged(
            (indexed, newer), order.columns, descending=order.descending, limit=order.limit
        )

    async def _count(self, found: Candidates, most: int) -> int:
        """The number of candidates; `most` for more."""
        row = await self.db.fetch_one(
            f"SELECT count(*) AS found FROM ({found.ids} LIMIT ?) AS f",
            (*found.params, most),
        )
        return int(row["found"]) if row is not None else 0

    async def _position_of(self, place: int) -> Position | None:
        """The position of the row at this place behind the page's beginning, without regard to the
        text; `None` if the list ends before it."""
        order = self.listed.order
        query = Query(f"SELECT {', '.join(order.columns)} FROM {self.listed.table}")
        self.listed.add_conditions(query, merging=True, text=False)
        query.keyset(
            order.columns, order.after, descending=order.descending, limit=0, skipped=place
        )
        row = await self.db.fetch_one(*query.build())
        return tuple(row) if row is not None else None
