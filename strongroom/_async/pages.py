"""Lists, page by page."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel

from strongroom._async.transport import Transport, parsed
from strongroom._pages import Page

T = TypeVar("T")
L = TypeVar("L", bound=BaseModel)


class Pages(Generic[T, L]):
    """A list that has not been read yet.

    `async for` goes through all items, and reads each page when it is needed: nothing is skipped or
    repeated when rows are added meanwhile. `page()` reads one page.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        query: dict[str, Any],
        answer: type[L],
        items: Callable[[L], list[T]],
        *,
        is_posted: bool = False,
    ) -> None:
        self._transport = transport
        self._path = path
        self._query = query
        self._answer = answer
        self._items = items
        self._is_posted = is_posted

    async def page(
        self, *, if_none_match: str | None = None, wait: float | None = None
    ) -> Page[T, L]:
        """The page at the `cursor` that the list was given, else the first one.

        With the `etag` of an earlier answer in `if_none_match` it raises `NotModified` while there
        is nothing else to tell, after `wait` seconds at most.
        """
        response = await self._read(self._query, if_none_match, wait)
        return self._page(response)

    def _page(self, response: httpx.Response) -> Page[T, L]:
        answer = parsed(self._answer, response)
        return Page(
            self._items(answer),
            getattr(answer, "next_cursor", None),
            response.headers.get("etag"),
            answer,
        )

    async def pages(self) -> AsyncIterator[Page[T, L]]:
        """All pages, one after the other."""
        query = self._query
        while True:
            page = await Pages(self._transport, self._path, query, self._answer, self._items).page()
            yield page
            if page.next_cursor is None:
                return
            query = {**query, "cursor": page.next_cursor}

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def _read(
        self, query: dict[str, Any], if_none_match: str | None, wait: float | None
    ) -> httpx.Response:
        if self._is_posted:
            return await self._transport.ask(self._path, None, query)
        return await self._transport.get(self._path, query, if_none_match=if_none_match, wait=wait)
