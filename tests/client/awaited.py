"""The synchronous client as if it were asynchronous, so that both have the same tests."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import strongroom
from strongroom._async.resource import Resource as AsyncResource
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.streams import Stream

_END = object()


async def _awaited(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    while (item := await asyncio.to_thread(next, iterator, _END)) is not _END:
        yield item


class _Pages:
    def __init__(self, pages: Pages[Any, Any]) -> None:
        self._pages = pages

    async def page(self, **options: Any) -> Any:
        return await asyncio.to_thread(self._pages.page, **options)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _awaited(iter(self._pages))


class _Stream:
    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream

    @property
    def last_event_id(self) -> str | None:
        return self._stream.last_event_id

    async def ready(self) -> int:
        return await asyncio.to_thread(self._stream.ready)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._stream.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await asyncio.to_thread(next, self._stream, _END)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Calls:
    def __init__(self, resource: Resource, twin: AsyncResource) -> None:
        self._resource = resource
        self._twin = twin

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._resource, name)
        if inspect.iscoroutinefunction(getattr(self._twin, name)):
            return lambda *given, **named: asyncio.to_thread(method, *given, **named)

        def lazy(*given: Any, **named: Any) -> Any:
            made = method(*given, **named)
            if isinstance(made, Pages):
                return _Pages(made)
            return _Stream(made) if isinstance(made, Stream) else _awaited(made)

        return lazy


class Awaited:
    """Behaves like an `AsyncClient`; each call runs in a thread."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.client = strongroom.Client(*given, **named)
        # It is only looked at, and makes no connection.
        self._twin = strongroom.AsyncClient("http://twin.test", "")

    def __getattr__(self, name: str) -> _Calls:
        return _Calls(getattr(self.client, name), getattr(self._twin, name))

    async def aclose(self) -> None:
        await asyncio.to_thread(self.client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
