"""Paged lists: the only place where cursors are read and written."""

from typing import Any, TypeVar

from pydantic import BaseModel

from backend.crypto.cursors import CursorCodec
from backend.repositories.paging import JsonPage, Page, Position

Answer = TypeVar("Answer", bound=BaseModel)


class Listing:
    """One page of a list under given filters."""

    __slots__ = ("_codec", "_filters", "_name", "after")

    def __init__(
        self, codec: CursorCodec, name: str, filters: tuple[object, ...], cursor: str | None
    ) -> None:
        """The page after `cursor`, or the first one.

        Raises `BadCursor` unless the cursor belongs to this list under these filters.
        """
        self._codec = codec
        self._name = name
        self._filters = filters
        self.after: Position | None = (
            codec.decode(cursor, name, *filters) if cursor is not None else None
        )
        """The position before the page's first item; `None` for the first page."""

    def answer(self, shape: type[Answer], page: Page[Any], **members: Any) -> Answer:
        """The list's answer: `members`, and the cursor of the page after `page`."""
        return shape.model_construct(**members, next_cursor=self._cursor(page.next_position))

    def json(self, page: JsonPage) -> bytes:
        """The JSON of the answer `{"<name>": […], "next_cursor": …}`."""
        cursor = self._cursor(page.next_position)
        next_cursor = f'"{cursor}"' if cursor is not None else "null"
        head, tail = f'{{"{self._name}":['.encode(), f'],"next_cursor":{next_cursor}}}'.encode()
        return b"".join((head, b",".join(page.items), tail))

    def _cursor(self, position: Position | None) -> str | None:
        if position is None:
            return None
        return self._codec.encode(position, self._name, *self._filters)
