"""Requests whose reads may be slow are given readers of their own."""

from collections.abc import AsyncIterable, AsyncIterator, Collection

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from backend.http.fast_path.direct_call import Handler
from backend.http.route_policy import RoutePolicy
from database.slow_reads import reading_slowly

LARGE_PAGE = 100
"""A page with more items than this takes longer than a look-up should wait."""

Piece = str | bytes | memoryview


def in_its_class(handle: Handler, policy: RoutePolicy, parameters: Collection[str]) -> Handler:
    """The route's handler, whose reads are done by the readers for slow ones if they may be slow:
    always, with a parameter that the policy names, or for a large page. `parameters` are those
    that the route's query may have."""
    if policy.is_slow:
        return _slowly(handle)
    names = policy.slow_with
    if not names and "limit" not in parameters:
        return handle
    slowly = _slowly(handle)

    async def handle_by_query(request: Request) -> Response:
        query = request.query_params
        if any(query.get(name) for name in names) or _is_large(query.get("limit")):
            return await slowly(request)
        return await handle(request)

    return handle_by_query


def _is_large(limit: str | None) -> bool:
    """Whether this is the limit of a large page; False for a text that is no limit."""
    return limit is not None and limit.isdecimal() and len(limit) < 5 and int(limit) > LARGE_PAGE


def _slowly(handle: Handler) -> Handler:
    async def handle_slowly(request: Request) -> Response:
        with reading_slowly():
            answer = await handle(request)
        if isinstance(answer, StreamingResponse):
            answer.body_iterator = _pieces(answer.body_iterator)
        return answer

    return handle_slowly


async def _pieces(pieces: AsyncIterable[Piece]) -> AsyncIterator[Piece]:
    # The block must not span the `yield`, or it would hold for the reader of the pieces.
    iterator = aiter(pieces)
    while True:
        with reading_slowly():
            piece = await anext(iterator, None)
        if piece is None:
            return
        yield piece
