"""Checks a request's token again after each wait: it may have expired or been revoked."""

from collections.abc import AsyncIterable, AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from backend.errors import InvalidField, StrongroomError, Unauthenticated
from backend.http.authentication import running_service
from backend.http.bulk_bodies import read_bulk
from backend.http.fast_path.direct_call import Handler
from backend.http.request_head import headers_of
from backend.http.route_policy import Lines
from backend.http.strict_json import read_json
from backend.services.principal import Principal, current_principal

_NOTHING = frozenset({b"", b"{}", b"null"})
"""Empty bodies, which some clients send with every call."""


async def require_valid(request: Request, principal: Principal) -> None:
    """Raises `Unauthenticated` when the token has ended since the request was authenticated."""
    service = running_service(request)
    if service.tokens.may_have_ended(principal):
        await service.tokens.require_valid(principal)


async def read_body(
    request: Request,
    principal: Principal | None,
    *,
    required: bool | None,
    lines: Lines | None = None,
) -> None:
    """Read the request's body as strict JSON, or with `lines` as `read_bulk` does. `required` is
    `None` for a route without a body, and `principal` for a route without a token."""
    if not has_arrived(request):
        if required is None and not _is_sent(request):
            return
        await receive_body(request, principal)
    use_body(request, required=required, lines=lines)


async def receive_body(request: Request, principal: Principal | None) -> None:
    """Receive the request's body, unless it has arrived already, for `use_body`."""
    if not has_arrived(request):
        # The limit also applies to a body that the route does not use.
        await _receive_body(request)
        # The client may have sent the body slowly, and the token may have ended meanwhile.
        if principal is not None:
            await require_valid(request, principal)


def has_arrived(request: Request) -> bool:
    """Whether the request has its whole body already."""
    return hasattr(request, "_body")


def use_body(request: Request, *, required: bool | None, lines: Lines | None = None) -> None:
    """Read the body that has arrived, as `read_body` does."""
    if required is not None and lines is not None:
        read_bulk(request, request._body, lines, required=required)
    elif required is not None:
        read_json(request, request._body, required=required)
    elif request._body.strip() not in _NOTHING and request.method != "GET":
        # The body would be ignored, although its sender expects it to have an effect.
        raise InvalidField((), "unexpected_body", "this call takes no body")


def _is_sent(request: Request) -> bool:
    headers = headers_of(request.scope)
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _receive_body(request: Request) -> None:
    """Receive what `request.body()` then returns. Most bodies are in one message, for which
    Starlette's generator would take longer than the server."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = b"".join([body, *[part async for part in request.stream()]])
    request._body = body


def valid_to_the_end(handle: Handler) -> Handler:
    """The handler of a reading route, with the token checked again before the answer is sent.

    A writing route checks the token in its transaction; after the commit it is too late.
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
    """The handler of a streaming route, whose answer breaks off when the token ends.

    The status is already sent by then, so only a broken connection tells the client that the
    answer is incomplete.
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
