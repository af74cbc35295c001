"""The calls for tests: routes that are in no document, behind a token of their own."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.errors import Refused, Unauthenticated
from backend.http.json_answer import JsonAnswer
from backend.http.own_origin import OTHER_HOST
from backend.http.request_head import headers_of
from backend.http.state import state_of
from backend.http.strict_query import StrictQuery
from backend.http.token_checks import read_body

_OTHER_HOST = "calls for tests are answered under loopback names only, such as localhost"
_OTHER_ORIGIN = "calls for tests are not for pages of other origins"
_NO_TOKEN = (
    "send the token in the file testing.token of the data directory: Authorization: Bearer …"  # noqa: S105 - no password
)
_SCHEME: Final = "bearer"
_NO_QUERY = StrictQuery()

Answer = Callable[[Request], Awaitable[BaseModel]]


class Door:
    """Lets only those in who can read the file with the token, on this machine."""

    def __init__(self) -> None:
        self.token: str | None = None
        """`None` until the server has begun; until then no request is let in."""

    def check(self, request: Request) -> None:
        """Raises `Refused` for a request under another name than loopback's, or from a page of
        another origin, and `Unauthenticated` without the token."""
        headers = headers_of(request.scope)
        refusal = state_of(request.app).own_origin.refusal(request.scope["scheme"], headers)
        if refusal is not None:
            raise Refused(_OTHER_HOST if refusal == OTHER_HOST else _OTHER_ORIGIN)
        scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        token = self.token
        is_known = token is not None and hmac.compare_digest(
            given.strip().encode("latin-1"), token.encode()
        )
        if scheme.lower() != _SCHEME or not is_known:
            raise Unauthenticated(_NO_TOKEN)


def call(path: str, door: Door, answer: Answer, *, has_body: bool) -> Route:
    """The route of a call: its checks, then `answer`, which finds the body in `request.json()`.
    An `Idempotency-Key` is ignored, and the call takes no slot."""

    async def endpoint(request: Request) -> Response:
        door.check(request)
        _NO_QUERY.check(request)
        await read_body(request, None, required=True if has_body else None)
        model = await answer(request)
        return JsonAnswer(model.model_dump_json().encode(), 200, None)

    return Route(path, endpoint, methods=["POST"], include_in_schema=False)


async def body_of(request: Request) -> Any:
    """The JSON value of the body, which was read strictly."""
    return await request.json()
