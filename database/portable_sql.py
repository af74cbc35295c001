"""Pieces of SQL that every engine takes, where the first way to write them is one engine's own."""

from collections.abc import Sequence

from database.engine import Value


def among(column: str, values: Sequence[Value]) -> str:
    """The condition that `column` is one of `values`, which are its parameters. Of none it is never
    true: `IN ()` is SQLite's own."""
    return f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0"


def unindexed(column: str) -> str:
    """The column, of any type, as an expression that no index is chosen for: where the planner
    should go by another one."""
    return f"COALESCE({column}, NULL)"


def with_ids(ids: Sequence[int]) -> tuple[str, Sequence[int]]:
    """The condition, and its parameters, that the id is one of `ids`, of which none comes twice.
    Those of rows that were added together are a range, which is found faster."""
    if ids and max(ids) - min(ids) + 1 == len(ids):
        return "id BETWEEN ? AND ?", (min(ids), max(ids))
    return among("id", ids), ids
