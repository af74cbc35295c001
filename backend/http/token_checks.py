"""A request's token, looked at again after each wait: it may have been revoked or have expired."""

from collections.abc import AsyncIterable, AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from backend.errors import InvalidField, StrongroomError, Unauthenticated
from backend.http.authentication import running_service
from backend.http.fast_path.direct_call import Handler
from backend.http.strict_json import read_json
from backend.services.principal import Principal, current_principal

_NOTHING = frozenset({b"", b"{}", b"null"})
"""Bodies that ask for nothing, which some clients send with every call."""


async def require_valid(request: Request, principal: Principal) -> None:
    """Raises `Unauthenticated` when the token has ended since the request was recognised."""
    service = running_service(request)
    if service.tokens.may_have_ended(principal):
        await service.tokens.require_valid(principal)


async def read_body(request: Request, principal: Principal, *, required: bool | None) -> None:
    """Read the request's body, strictly unless the route has none: `required` is `None` then."""
    headers = request.headers
    is_sent = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    if required is None and not is_sent:
        return
    # Also one that nobody asks for may not be larger than the limit.
    body = await request.body()
    # A client takes as long as it likes to send it.
    await require_valid(request, principal)
    if required is not None:
        await read_json(request, required=required)
    elif request.method != "GET" and body.strip() not in _NOTHING:
        # It would be ignored, and say what its sender believes to happen.
        raise InvalidField((), "unexpected_body", "this call takes no body")


def valid_to_the_end(handle: Handler) -> Handler:
    """The handler of a route that reads, which tells nothing when the token has ended meanwhile.

    A route that writes is looked at in its transaction; afterwards its effect is there.
    """

    async def handle_and_check(request: Request) -> Response:
        try:
            answer = await handle(request)
        except StrongroomError:
            await require_valid(request, current_principal())
            raise
        await require_valid(request, current_principal())
        return answer

    return handle_and_check


def broken_off_at_the_end(handle: Handler) -> Handler:
    """The handler of a route whose answer is streamed, which breaks off when the token ends.

    Its status is sent by then: only a broken connection tells that this is not the whole.
    """

    async def handle_and_watch(request: Request) -> Response:
        answer = await handle(request)
        if isinstance(answer, StreamingResponse):
            answer.body_iterator = _while_valid(answer.body_iterator)
        return answer

    return handle_and_watch


async def _while_valid(
    pieces: AsyncIterable[str | bytes | memoryview],
) -> AsyncIterator[str | bytes | memoryview]:
    try:
        async for piece in pieces:
            yield piece
    except Unauthenticated:
        raise ClientDisconnect from None
