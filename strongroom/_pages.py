"""One page of a list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
L = TypeVar("L")


@dataclass(frozen=True)
class Page(Generic[T, L]):
    """Some items of a list."""

    items: list[T]
    next_cursor: str | None
    """Where the next page begins; None on the last one."""
    etag: str | None
    """For `if_none_match`; None for lists that have none."""
    answer: L
    """The whole answer. Some lists have more than items, such as a summary."""
