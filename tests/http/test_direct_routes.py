"""Direct routes are called from the edge; everything else goes through FastAPI's layers."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.errors import NotFound, StrongroomError
from backend.http.fast_path.direct_routes import DirectRoutes
from backend.http.fast_path.route_table import RouteTable
from backend.http.guarded_route import GuardedRouter
from backend.http.route_policy import without_token
from backend.main import create_app
from config.settings import Settings
from tests.support.asgi import Head, exchanged
from tests.support.clients import client_of

PATH = "/api/things"


class Fault(Exception):
    """An error without a handler."""


def direct(error: Exception | None, handlers: dict[Any, Any]) -> DirectRoutes:
    """One direct route, which raises `error` if there is one, in front of an application."""
    router = GuardedRouter(tag="test", policies={("GET", PATH): without_token()})

    @router.get(PATH)
    async def answer() -> dict[str, str]:
        if error is not None:
            raise error
        return {"by": "the route"}

    async def others(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("others")(scope, receive, send)

    routes = list(router.guarded_routes)
    table = RouteTable(routes)
    return DirectRoutes(table, [table, *routes], handlers, others)


async def body(app: ASGIApp, path: str = PATH, method: str = "GET") -> bytes:
    """The body of the answer."""
    answer: bytes = (await exchanged(app, Head(path, method=method)))[-1]["body"]
    return answer


async def test_only_direct_routes_are_called() -> None:
    app = direct(None, {})
    assert await body(app) == b'{"by":"the route"}'
    assert await body(app, "/elsewhere") == b"others"
    assert await body(app, method="POST") == b"others"


async def test_an_error_is_for_the_handler_of_its_nearest_class() -> None:
    async def of_all(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse("any error of ours")

    async def of_one(request: Request, _error: Exception) -> Response:
        return PlainTextResponse(f"nothing at {request.url.path}")

    error = NotFound("not here")
    assert await body(direct(error, {StrongroomError: of_all})) == b"any error of ours"
    handlers = {StrongroomError: of_all, NotFound: of_one}
    assert await body(direct(error, handlers)) == b"nothing at /api/things"
    with pytest.raises(Fault):
        await body(direct(Fault(), handlers))


async def test_added_middleware_and_routes_come_first(settings: Settings) -> None:
    app = create_app(settings)
    seen: list[str] = []

    class Noting:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["path"] if scope["type"] == "http" else scope["type"])
            await self._app(scope, receive, send)

    app.add_middleware(Noting)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/health")).json()["status"] == "healthy"
        app.router.add_route("/health", lambda _: PlainTextResponse("mine"))
        app.router.routes.insert(0, app.router.routes.pop())
        assert (await client.get("/health")).text == "mine"
    assert seen == ["/health", "/health"]
