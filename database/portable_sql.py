"""Pieces of SQL that work on every engine, where the obvious form works on only one."""

from collections.abc import Sequence

from database.engine import Value


def among(column: str, values: Sequence[Value]) -> str:
    """The condition that `column` is one of `values`, which are its parameters. Without values it
    is never true; `IN ()` exists only in SQLite."""
    return f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0"


def unindexed(column: str) -> str:
    """The column as an expression that has no index, so that the planner uses another column's
    index. Works for all types."""
    return f"COALESCE({column}, NULL)"


def with_ids(ids: Sequence[int]) -> tuple[str, Sequence[int]]:
    """The condition, with its parameters, that the id is one of `ids`, which must be distinct. The
    ids of rows that were added together are a range, which is found faster."""
    if ids and max(ids) - min(ids) + 1 == len(ids):
        return "id BETWEEN ? AND ?", (min(ids), max(ids))
    return among("id", ids), ids
