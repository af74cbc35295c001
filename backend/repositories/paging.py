"""Keyset pages: a page is found by where the last one ended, so depth costs nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel

from database.connection import Row, Value
from database.json_pages import Kind

T = TypeVar("T")
Position = tuple[Value, ...]
"""The sort columns of a page's last row."""
_MAX_BRANCHES = 100
"""SQLite takes up to 500, and a holder of so many projects sees most rows anyway."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in order, and where the next page starts; `None` when this is the last."""

    items: list[T]
    next_position: Position | None


@dataclass(frozen=True, slots=True)
class JsonPage:
    """A page whose items are the texts of JSON objects, as an answer has them."""

    items: list[str]
    next_position: Position | None


def json_members(model: type[BaseModel]) -> dict[str, Kind]:
    """The members that the model's JSON has, in its order, each with how its column is stored."""
    return {
        name: _kind(field.annotation)
        for name, field in model.model_fields.items()
        if not field.exclude
    }


def _kind(annotation: object) -> Kind:
    types = set(_types(annotation))
    if bool in types:
        return "boolean"
    return "json" if types & {dict, list} else "plain"


def _types(annotation: object) -> Iterator[object]:
    """The types that the annotation is made of, those inside unions and `Annotated` included."""
    origin = get_origin(annotation)
    yield origin or annotation
    if origin not in (dict, list):
        for part in get_args(annotation):
            yield from _types(part)


class Query:
    """A SELECT put together from constant parts; values only ever go through parameters."""

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
        """Add the condition that `column` is one of `values`; none of them matches nothing."""
        if values:
            self.where(f"{column} IN ({', '.join('?' * len(values))})", *values)
        else:
            self.where("1 = 0")

    def branch(self, column: str, values: Sequence[Value]) -> None:
        """Add the condition that `column` is one of `values`, in a way that keeps the order.

        A page of several owners' rows in one order: with IN, either all rows of all owners would
        be sorted for each page, or everybody's rows be walked through. A branch for each value
        comes from the index in its order, and merging them takes no more rows than the page has.
        Of several columns there is a branch for each combination.
        """
        if not values:
            self.where("1 = 0")
        elif len(values) == 1:
            self.where(f"{column} = ?", *values)
        elif len(values) * prod(len(others) for _, others in self._branches) > _MAX_BRANCHES:
            # The plus keeps it from choosing an index: the order counts for more.
            self.where_in(f"+{column}", values)
        else:
            self._branches.append((column, values))

    def keyset(
        self, columns: Sequence[str], after: Position | None, *, descending: bool, limit: int
    ) -> None:
        """Order by `columns`, start behind `after`, and take one row more than `limit`, which
        tells whether there is a next page."""
        if after is not None:
            comparison = "<" if descending else ">"
            marks = ", ".join("?" * len(columns))
            self.where(f"({', '.join(columns)}) {comparison} ({marks})", *after)
        direction = " DESC" if descending else ""
        order = ", ".join(f"{column}{direction}" for column in columns)
        self._tail = f" ORDER BY {order} LIMIT {limit + 1:d}"

    def build(self) -> tuple[str, tuple[Value, ...]]:
        """The statement and its parameters."""
        conditions = self._conditions + [f"{column} = ?" for column, _ in self._branches]
        # Without a branch there is one combination, of nothing.
        combinations = list(product(*(values for _, values in self._branches)))
        params = tuple(param for values in combinations for param in (*self._params, *values))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return " UNION ALL ".join([self._select + where] * len(combinations)) + self._tail, params


def page_of(
    rows: list[Row], limit: int, model: Callable[[Row], T], columns: Sequence[str]
) -> Page[T]:
    """The page of the rows that a keyset query gave."""
    more = len(rows) > limit
    kept = rows[:limit]
    position = tuple(kept[-1][column] for column in columns) if more else None
    return Page([model(row) for row in kept], position)
