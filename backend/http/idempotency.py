"""`Idempotency-Key`: each request with a key has one effect, and its answer is repeated.

This is the only place that knows of it, between the checks of a request and its endpoint. A request
without the header goes past it untouched.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from backend.errors import BadRequest
from backend.http.authentication import running_service
from backend.http.fast_path.direct_call import Handler
from backend.http.json_answer import JsonAnswer
from backend.http.request_head import headers_of
from backend.http.route_policy import Idempotent
from backend.services.idempotency import idempotency
from backend.services.idempotency.answer_sealing import Answer
from backend.services.idempotency.idempotency import MAX_KEY_LENGTH, request_hash
from backend.services.principal import Principal

HEADER: Final = b"idempotency-key"
REPLAYED: Final = (b"idempotency-replayed", b"true")
"""The header of a repeated answer."""
_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_KEY_LENGTH)
_REQUEST = "strongroom.idempotent"
"""The scope's key for the request as the service knows it."""

Work = Callable[[Request, Principal], Awaitable[Response]]
"""What is left of a request for this principal, whose body has arrived."""


def with_key_once(work: Work, keyed_work: Work, *, route: str, scope: str) -> Work:
    """`work` for requests without a key, and `keyed_work` for those with one, of which only one
    with the same key runs at a time."""

    def once(request: Request, principal: Principal) -> Awaitable[Response]:
        headers = headers_of(request.scope)
        key = headers.get(HEADER)
        if key is None:
            return work(request, principal)
        return with_key(request, principal, key, headers.get(b"content-type", b""))

    async def with_key(
        request: Request, principal: Principal, key: bytes, content_type: bytes
    ) -> Response:
        if not _KEY.fullmatch(key):
            raise BadRequest(
                f"send one Idempotency-Key, of 1 to {MAX_KEY_LENGTH} visible ASCII characters"
            )
        service, sent = running_service(request).idempotency, request.scope
        body = request._body if hasattr(request, "_body") else b""
        asked = idempotency.Request(
            service.key_mac(principal.token_id, key),
            request_hash(
                sent["method"].encode(),
                sent["path"].encode("utf-8", "surrogateescape"),
                sent["query_string"],
                content_type.partition(b";")[0].strip().lower(),
                body,
            ),
            route,
            scope,
            request.path_params,
        )
        if not service.begin(asked):
            # Before a slot is taken, because waiting needs none.
            await service.begin_after_others(asked)
        sent[_REQUEST] = asked
        try:
            return await keyed_work(request, principal)
        finally:
            service.end(asked)

    return once


def answering_once(handle: Handler, how: Idempotent) -> Handler:
    """The handler for requests with a key: it repeats the stored answer, or stores that of
    `handle`."""

    async def handle_once(request: Request) -> Response:
        service = running_service(request).idempotency
        asked: idempotency.Request = request.scope[_REQUEST]
        made: list[Response] = []

        async def make() -> Answer:
            # In a unit of work, which may run again.
            made[:] = [await handle(request)]
            return _answer_of(made[0])

        answer = service.answer if how is Idempotent.WITH_EFFECT else service.answer_afterwards
        replayed = await answer(asked, make)
        return made[0] if replayed is None else _response_of(replayed)

    return handle_once


def _answer_of(response: Response) -> Answer:
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return Answer(response.status_code, headers, bytes(response.body))


def _response_of(answer: Answer) -> Response:
    response = JsonAnswer(answer.body, answer.status)
    response.raw_headers = [
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
        REPLAYED,
    ]
    return response
