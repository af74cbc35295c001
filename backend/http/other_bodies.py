"""Bodies that are not JSON: received, read on a thread, and given to their endpoint."""

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from backend.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from backend.http.authentication import client_address
from backend.http.idempotency import Work
from backend.http.request_head import headers_of
from backend.http.route_policy import OtherBody, Queue, media_type_of
from backend.http.state import state_of
from backend.http.strict_json import is_json, refuse_coding
from backend.http.token_checks import receive_body, require_valid
from backend.services.principal import Principal

_CONTENT: Final = "strongroom.other_body"
"""The scope's key for what was read."""


def content_of(request: Request) -> Any:
    """What `OtherBody.read` has made of the request's body. Raises `LookupError` for one in
    JSON."""
    return request.scope[_CONTENT]


def or_other_body(work: Work, other: OtherBody, otherwise: Work) -> Work:
    """The work for requests with such a body, and `otherwise` for the others.

    Few bodies are read at a time, and what is read of one is given up before the next is read, so
    that the memory for them is limited.
    """

    async def read_and_work(request: Request, principal: Principal) -> Response:
        await receive_body(request, principal)
        refuse_coding(request)
        body = request._body
        if len(body) > other.limit:
            raise BodyTooLarge(f"the body may have at most {other.limit} bytes")
        if not body:
            raise BadRequest("the body is empty: send a file")
        client = principal.token_id or client_address(request)
        async with state_of(request.scope["app"]).queues[Queue.FILES].slot(client):
            await require_valid(request, principal)
            query = dict(request.query_params)
            request.scope[_CONTENT] = await asyncio.to_thread(other.read, body, query)
            # What FastAPI gives to an endpoint for a body that is not JSON.
            request._json = body
            return await work(request, principal)

    async def by_media_type(request: Request, principal: Principal) -> Response:
        declared = headers_of(request.scope).get(b"content-type", b"")
        if media_type_of(declared) in other.media_types:
            return await read_and_work(request, principal)
        if not declared:
            await receive_body(request, principal)
        if (declared or request._body) and not is_json(declared.decode("latin-1")):
            kinds = ", ".join(("application/json", *other.media_types))
            raise UnsupportedMediaType(f"send the body with a Content-Type of these: {kinds}")
        return await otherwise(request, principal)

    return by_media_type
