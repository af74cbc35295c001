"""Keyset pages: a page starts after the last row of the one before, so depth costs nothing."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product
from math import prod
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from database.base import Sql
from database.engine import Executor, JsonKind, JsonMember, MalformedText, Row, Value
from database.portable_sql import among, unindexed
from models import BaseDBModel

T = TypeVar("T")
Position = tuple[Value, ...]
"""The sort columns of a page's last row."""
MAX_PAGE_BYTES = 4 * 1024 * 1024 - 8 * 1024
"""The limit for the JSON of a page's items, unless the page has only one item. The rest of the
4 MiB is for the rest of the answer: the longest cursor, and counts."""
_MAX_BRANCHES = 100
"""SQLite allows up to 500. A token that is bound to more projects sees most rows anyway."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in order, and where the next page starts; `None` when this is the last."""

    items: list[T]
    next_position: Position | None


@dataclass(frozen=True, slots=True)
class JsonPage:
    """A page whose items are JSON objects in UTF-8, ready for an answer."""

    items: list[bytes]
    next_position: Position | None


def json_members(model: type[BaseModel]) -> dict[str, JsonKind]:
    """The members of the model's JSON in their order, each with the kind of its column."""
    return {
        name: _kind(field.annotation)
        for name, field in model.model_fields.items()
        if not field.exclude
    }


def row_json(row: Mapping[str, Value], members: Mapping[str, JsonKind]) -> bytes:
    """The JSON object with these `json_members` of a row that was just written."""
    return to_json(
        {
            name: row[name] if kind == "plain" else _content(row[name], kind)
            for name, kind in members.items()
        }
    )


def shown_json(
    row: Mapping[str, Any], members: Mapping[str, JsonKind], model: type[BaseDBModel]
) -> bytes:
    """The JSON of the model of a row that was read, with its `json_members`: as the model's own
    JSON, in a fifth of the time. Also of a row that another program has damaged."""
    shown: dict[str, Any] = {}
    for name, kind in members.items():
        value = row[name]
        if kind == "json" and value is not None:
            try:
                value = from_json(value)
            except ValueError:
                value = None
            if type(value) is not dict:
                return model.of_row(row).model_dump_json().encode()
        elif kind == "boolean" and value is not None:
            value = bool(value)
        shown[name] = value
    return to_json(shown)


def _content(value: Any, kind: JsonKind) -> Any:
    if value is None:
        return None
    return bool(value) if kind == "boolean" else from_json(value)


def _kind(annotation: object) -> JsonKind:
    types = set(_types(annotation))
    if bool in types:
        return "boolean"
    return "json" if types & {dict, list} else "plain"


def _types(annotation: object) -> Iterator[object]:
    """The types in the annotation, including those inside unions and `Annotated`."""
    origin = get_origin(annotation)
    yield origin or annotation
    if origin not in (dict, list):
        for part in get_args(annotation):
            yield from _types(part)


class Query:
    """Builds a SELECT from constant parts. Values are always parameters."""

    def __init__(self, select: str, *params: Value) -> None:
        self._select = select
        self._conditions: list[str] = []
        self._params = list(params)
        self._branches: list[tuple[str, Sequence[Value]]] = []
        self._tail = ""

    def where(self, condition: str, *params: Value) -> None:
        """Add a condition."""
        self._conditions.append(condition)
        self._params.extend(params)

    def where_in(self, column: str, values: Sequence[Value]) -> None:
        """Add the condition that `column` is one of `values`. Without values, no row matches."""
        self.where(among(column, values), *values)

    def branch(self, column: str, values: Sequence[Value]) -> None:
        """Add the condition that `column` is one of `values`, in a way that keeps the order.

        With IN, a page over several owners would sort all rows of these owners, or scan the rows
        of all owners. Instead, there is a branch for each value. An index returns each branch in
        order, and merging them reads no more rows than the page has. With several columns, there
        is a branch for each combination.
        """
        if not values:
            self.where("1 = 0")
        elif len(values) == 1:
            self.where(f"{column} = ?", *values)
        elif len(values) * prod(len(others) for _, others in self._branches) > _MAX_BRANCHES:
            # An index on the order is more useful than an index on the column.
            self.where_in(unindexed(column), values)
        else:
            self._branches.append((column, values))

    def keyset(
        self,
        columns: Sequence[str],
        after: Position | None,
        *,
        descending: bool,
        limit: int,
        skipped: int = 0,
    ) -> None:
        """Order by `columns`, start after `after` and `skipped` rows more, and read one row more
        than `limit`, which shows whether there is a next page."""
        if after is not None:
            self._compare(columns, "<" if descending else ">", after)
        self._tail = _in_order(columns, descending=descending, limit=limit)
        if skipped:
            self._tail += f" OFFSET {skipped:d}"

    @property
    def parts(self) -> int:
        """The number of SELECTs that are merged: see `branch`."""
        return prod(len(values) for _, values in self._branches)

    def until(self, columns: Sequence[str], last: Position, *, descending: bool) -> None:
        """Add the condition that a row is not behind `last` in the order of `columns`."""
        self._compare(columns, ">=" if descending else "<=", last)

    def _compare(self, columns: Sequence[str], comparison: str, position: Position) -> None:
        marks = ", ".join(map(_mark, position))
        self.where(f"({', '.join(columns)}) {comparison} ({marks})", *map(_param, position))

    def build(self) -> tuple[str, tuple[Value, ...]]:
        """The statement and its parameters."""
        conditions = self._conditions + [f"{column} = ?" for column, _ in self._branches]
        # Without branches there is one empty combination.
        combinations = list(product(*(values for _, values in self._branches)))
        params = tuple(param for values in combinations for param in (*self._params, *values))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return " UNION ALL ".join([self._select + where] * len(combinations)) + self._tail, params


class Statement(Protocol):
    """A SELECT that is complete."""

    def build(self) -> tuple[str, tuple[Value, ...]]:
        """The statement and its parameters."""
        ...


class Merged:
    """The rows of several keyset queries with the same columns, in one order."""

    def __init__(
        self, queries: Sequence[Query], columns: Sequence[str], *, descending: bool, limit: int
    ) -> None:
        """Each of the queries gives at most the rows that a page needs, which is `limit` and one
        more."""
        self._queries = queries
        self._tail = _in_order(columns, descending=descending, limit=limit)

    def build(self) -> tuple[str, tuple[Value, ...]]:
        """The statement and its parameters."""
        built = [query.build() for query in self._queries]
        parts = (f"SELECT * FROM ({sql}) AS part{n}" for n, (sql, _) in enumerate(built))
        return " UNION ALL ".join(parts) + self._tail, tuple(p for _, ps in built for p in ps)


def _in_order(columns: Sequence[str], *, descending: bool, limit: int) -> str:
    direction = " DESC" if descending else ""
    order = ", ".join(f"{column}{direction}" for column in columns)
    return f" ORDER BY {order} LIMIT {limit + 1:d}"


def _mark(value: Value) -> str:
    return "CAST(? AS TEXT)" if isinstance(value, MalformedText) else "?"


def _param(value: Value) -> Value:
    return value.stored if isinstance(value, MalformedText) else value


def is_one_of(column: str, values: Collection[Enum]) -> Sql:
    """The condition that `column` is one of `values`; never true without values."""
    params = tuple(value.value for value in values)
    return Sql(among(column, params), params)


class PageReader(Generic[T]):
    """Reads a page row by row until it reaches its limit of items or of bytes."""

    def __init__(
        self,
        limit: int,
        model: Callable[[Row], T],
        columns: Sequence[str],
        *,
        members: Mapping[str, JsonKind] | None = None,
        used: int = 0,
    ) -> None:
        """The rows are ordered by `columns`. An item shows `members`, each with its kind; without
        `members` it shows all columns, none of them JSON. `used` bytes of the answer are already
        taken."""
        self._limit = limit
        self._model = model
        self._columns = columns
        self._members = members
        self._room = MAX_PAGE_BYTES - used
        self._items: list[T] = []
        self._rows: list[Row] = []
        """The rows of the items so far. Once bytes are counted, only the last one is kept, because
        some rows are much larger than their items."""
        self._estimate = 0
        self._bytes: int | None = None
        self.is_full = False
        """Whether a row was left out."""

    async def read(self, executor: Executor, query: Statement) -> None:
        """Add the rows of a keyset query until the page is full."""
        await executor.fetch_while(*query.build(), self._takes)

    def page(self) -> Page[T]:
        """The page of the rows that were read."""
        position = None
        if self.is_full:
            position = tuple(self._rows[-1][column] for column in self._columns)
        return Page(self._items, position)

    def _takes(self, row: Row) -> bool:
        if len(self._items) == self._limit:
            self.is_full = True
            return False
        if self._bytes is None:
            # An upper bound. It shows that nearly all pages fit, without encoding their rows.
            characters = 0
            for value in row:
                if isinstance(value, str):
                    characters += len(value)
            self._estimate += _LONGEST_CHARACTER * characters + _LONGEST_MEMBER * len(row)
            if self._estimate > self._room:
                self._bytes = sum(map(self._json_bytes, self._rows))
        if self._bytes is not None:
            self._bytes += self._json_bytes(row)
            if self._bytes > self._room and self._items:
                self.is_full = True
                return False
            self._rows.clear()
        self._rows.append(row)
        self._items.append(self._model(row))
        return True

    def _json_bytes(self, row: Row) -> int:
        """An upper bound on the bytes of the row's item, larger by only a few bytes."""
        size = _COMPUTED
        for name, value in zip(row.keys(), row, strict=True):
            kind = "plain" if self._members is None else self._members.get(name)
            if kind is not None:
                shown = value.encode() if kind == "json" and value is not None else to_json(value)
                size += len(name) + len(shown) + _AROUND_MEMBER
        return size


async def fetch_json(
    executor: Executor,
    query: Statement,
    limit: int,
    columns: Sequence[str],
    members: Mapping[str, JsonMember],
    large: Sequence[str] = (),
    joins: str = "",
) -> JsonPage:
    """The page of a keyset query, ordered by `columns`, as JSON with `members`. `large` names the
    columns that may hold many kilobytes. `joins` are as for `Dialect.fetch_json_page`."""
    select, params = query.build()
    return JsonPage(
        *await executor.dialect.fetch_json_page(
            executor,
            select,
            params,
            members=members,
            keys=columns,
            large=large,
            limit=limit,
            most_bytes=MAX_PAGE_BYTES,
            joins=joins,
        )
    )


async def fetch_page(
    executor: Executor,
    query: Statement,
    limit: int,
    model: Callable[[Row], T],
    columns: Sequence[str],
    *,
    members: Mapping[str, JsonKind] | None = None,
    used: int = 0,
) -> Page[T]:
    """The page of a keyset query: see `PageReader`."""
    reader = PageReader(limit, model, columns, members=members, used=used)
    await reader.read(executor, query)
    return reader.page()


_LONGEST_CHARACTER = 6
"""The most bytes of JSON that a character takes, as in `\\u0001`."""
_LONGEST_MEMBER = 40
"""Bytes of a member besides its text: its name, or a number as its value."""
_AROUND_MEMBER = 8
"""Quotes, colon and comma, and the bytes by which `false` is longer than 0."""
_COMPUTED = 64
"""Members that are not columns, such as a duration, and the braces."""
